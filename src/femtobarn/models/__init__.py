"""Registered architectures; importing this package registers all of them."""

from femtobarn.models import weaver
from femtobarn.models.bdt import BDT
from femtobarn.models.cnn import CNN
from femtobarn.models.deepjet import DeepJet
from femtobarn.models.depths import DEPTHS, Depth, at_depth, check_depth, depths
from femtobarn.models.efn import EFN
from femtobarn.models.fcn import FCN
from femtobarn.models.jetimage import JetImage
from femtobarn.models.lgatr import LGATr
from femtobarn.models.lgatr_slim import LGATrSlim
from femtobarn.models.lloca import LLoCaParT, LLoCaParticleNet, LLoCaTransformer
from femtobarn.models.lorentznet import LorentzNet
from femtobarn.models.mipart import MIParT
from femtobarn.models.mpnn import MPNN
from femtobarn.models.network import Network
from femtobarn.models.part import ParT
from femtobarn.models.particlenet import ParticleNet
from femtobarn.models.pcnn import PCNN
from femtobarn.models.pfn import PFN
from femtobarn.models.recnn import RecNN
from femtobarn.models.registry import MODELS, PUBLISHED, Description, describe, find, model, networks, settings
from femtobarn.models.sett import SetT
from femtobarn.models.transformer import Transformer

__all__ = [
    "BDT",
    "CNN",
    "DEPTHS",
    "EFN",
    "FCN",
    "MODELS",
    "MPNN",
    "PCNN",
    "PFN",
    "PUBLISHED",
    "DeepJet",
    "Depth",
    "Description",
    "JetImage",
    "LGATr",
    "LGATrSlim",
    "LLoCaParT",
    "LLoCaParticleNet",
    "LLoCaTransformer",
    "LorentzNet",
    "MIParT",
    "Network",
    "ParT",
    "ParticleNet",
    "RecNN",
    "SetT",
    "Transformer",
    "at_depth",
    "check_depth",
    "depths",
    "describe",
    "find",
    "model",
    "networks",
    "settings",
    "weaver",
]
