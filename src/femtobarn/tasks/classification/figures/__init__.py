"""Figures of a comparison of classifiers."""
