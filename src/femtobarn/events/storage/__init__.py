"""Storage: compressed files, atomic writing, and checksums."""
