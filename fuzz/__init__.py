"""Every decoder, each as a function of some bytes, for Hypothesis in the tests and for atheris by hand."""
