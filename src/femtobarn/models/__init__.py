"""Registered architectures; importing this package registers all of them."""

from femtobarn.models import weaver
from femtobarn.models.bdt import BDT
from femtobarn.models.cnn import CNN
from femtobarn.models.deepjet import DeepJet
from femtobarn.models.depths import at_depth, check_depth, models_with
from femtobarn.models.dsi import DSI
from femtobarn.models.efn import EFN
from femtobarn.models.fcn import FCN
from femtobarn.models.jetimage import JetImage
from femtobarn.models.lgatr import LGATr
from femtobarn.models.lgatr_slim import LGATrSlim
from femtobarn.models.lloca import LLoCaParT, LLoCaParticleNet, LLoCaTransformer
from femtobarn.models.lorentznet import LorentzNet
from femtobarn.models.mipart import MIParT
from femtobarn.models.mlp import MLP
from femtobarn.models.mlp_i import MLPI
from femtobarn.models.mpnn import MPNN
from femtobarn.models.network import Network
from femtobarn.models.part import ParT
from femtobarn.models.particlenet import ParticleNet
from femtobarn.models.pcnn import PCNN
from femtobarn.models.pfn import PFN
from femtobarn.models.recnn import RecNN
from femtobarn.models.registry import (
    DEPTHS,
    MODELS,
    Depth,
    ModelSpec,
    list_models,
    model,
    model_spec,
    networks,
    published_sizes,
)
from femtobarn.models.sett import SetT
from femtobarn.models.transformer import Transformer

__all__ = [
    "BDT",
    "CNN",
    "DEPTHS",
    "DSI",
    "EFN",
    "FCN",
    "MLP",
    "MLPI",
    "MODELS",
    "MPNN",
    "PCNN",
    "PFN",
    "DeepJet",
    "Depth",
    "JetImage",
    "LGATr",
    "LGATrSlim",
    "LLoCaParT",
    "LLoCaParticleNet",
    "LLoCaTransformer",
    "LorentzNet",
    "MIParT",
    "ModelSpec",
    "Network",
    "ParT",
    "ParticleNet",
    "RecNN",
    "SetT",
    "Transformer",
    "at_depth",
    "check_depth",
    "list_models",
    "model",
    "model_spec",
    "models_with",
    "networks",
    "published_sizes",
    "weaver",
]
