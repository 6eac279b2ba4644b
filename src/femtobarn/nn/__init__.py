"""Layers that several models share."""

from femtobarn.nn.attention import (
    Bias,
    append_zero_rows,
    class_attention,
    key_padding_bias,
    last_token_attention,
    prepare_bias,
    query_attention,
    record_attention,
    report_attention,
    self_attention,
)
from femtobarn.nn.batchnorm import BatchNorm, fuse_linear_bn, linear_batch_norm
from femtobarn.nn.chunking import apply_chunked, chunk_size
from femtobarn.nn.directions import Directions, directions, event_features
from femtobarn.nn.dropout import dropout
from femtobarn.nn.global_token import GlobalTokenTransformer
from femtobarn.nn.local_frames import LocalFrames
from femtobarn.nn.mlp import init_he, mlp, mlp_head
from femtobarn.nn.neighbours import all_neighbours, nearest_neighbours
from femtobarn.nn.packing import PackedRows
from femtobarn.nn.pairs import PairLayers, pair_bias, symmetric_bias, unique_pairs
from femtobarn.nn.products import Linear, linear, pad_rows
from femtobarn.nn.scan import scan
from femtobarn.nn.tokens import (
    PackedTokens,
    Reference,
    Tokens,
    append_global_token,
    n_token_scalars,
    pack_tokens,
    tokens,
)
from femtobarn.nn.transport import Transport
from femtobarn.nn.trees import ClusterTree, cluster

__all__ = [
    "BatchNorm",
    "Bias",
    "ClusterTree",
    "Directions",
    "GlobalTokenTransformer",
    "Linear",
    "LocalFrames",
    "PackedRows",
    "PackedTokens",
    "PairLayers",
    "Reference",
    "Tokens",
    "Transport",
    "all_neighbours",
    "append_global_token",
    "append_zero_rows",
    "apply_chunked",
    "chunk_size",
    "class_attention",
    "cluster",
    "directions",
    "dropout",
    "event_features",
    "fuse_linear_bn",
    "init_he",
    "key_padding_bias",
    "last_token_attention",
    "linear",
    "linear_batch_norm",
    "mlp",
    "mlp_head",
    "n_token_scalars",
    "nearest_neighbours",
    "pack_tokens",
    "pad_rows",
    "pair_bias",
    "prepare_bias",
    "query_attention",
    "record_attention",
    "report_attention",
    "scan",
    "self_attention",
    "symmetric_bias",
    "tokens",
    "unique_pairs",
]
