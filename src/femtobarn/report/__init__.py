"""The page of a comparison: style, figures and sections that several tasks share."""
