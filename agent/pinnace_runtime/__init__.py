"""Running a model: runtime adapters, declared steps before and after, golden check, feature and prediction counts."""
