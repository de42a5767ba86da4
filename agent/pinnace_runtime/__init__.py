"""Running a model: runtime adapters, pre- and post-processing, features and histograms."""
