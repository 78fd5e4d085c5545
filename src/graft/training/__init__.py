"""Compile and fit, the same for both training stages; knows neither images nor MLflow."""
