"""femtobarn: from collision events to significance."""

__version__ = "0.1.0"
