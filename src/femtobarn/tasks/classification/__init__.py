"""Classification: which process an event comes from."""
