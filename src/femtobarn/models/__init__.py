"""The zoo of architectures."""
