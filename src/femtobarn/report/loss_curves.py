"""Histories: how the losses fell during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from femtobarn.evaluation.comparison import ModelResult
from femtobarn.report.style import MANY, PlotStyle, literal, panels


def draw_loss_curves(rows: Sequence[ModelResult[Any]], styles: Mapping[str, PlotStyle]) -> Figure:
    """Training and validation loss of every training, a panel a model; a dot marks the epoch that was kept."""
    columns, height = (4, 1.9) if len(rows) > MANY else (3, 2.3)
    figure, grid = panels(len(rows), columns=columns, height=height, share=False)
    for index, (axes, row) in enumerate(zip(grid, rows, strict=True)):
        axes.set_ylabel("loss" if index % columns == 0 else "")
        style = styles[row.label]
        trees = False
        for run in row.runs:
            epochs, train, valid = (
                np.array([entry[name] for entry in run.history], dtype=np.float64)
                for name in ("epoch", "train_loss", "valid_loss")
            )
            trees = trees or (run.config.get("model") or {}).get("name") == "bdt"
            if not epochs.size:
                continue
            axes.plot(epochs, train, color="#888888", linewidth=1.0, linestyle=(0, (3, 1.5)))
            axes.plot(epochs, valid, color=style.color, linewidth=1.4)
            kept = int(valid.argmin())
            axes.plot(epochs[kept], valid[kept], marker="o", markersize=5, color=style.color, markeredgecolor="black")
        axes.set_title(literal(row.label))
        axes.set_xlabel("boosting iteration" if trees else "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    handles = [
        Line2D([], [], color="#888888", linewidth=1.0, linestyle=(0, (3, 1.5)), label="training events"),
        Line2D([], [], color="black", linewidth=1.4, label="validation events (in the model's colour)"),
        Line2D([], [], marker="o", linestyle="none", color="white", markeredgecolor="black", label="kept"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
