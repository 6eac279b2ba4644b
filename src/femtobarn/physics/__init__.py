"""Pure physics: formulas with units and sources, no state."""
