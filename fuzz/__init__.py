"""Fuzz targets: every decoder as a function of bytes, for Hypothesis in the tests and for atheris by hand."""
