"""Tests on data and a model that people use: `make test-real DATA=FOLDER`."""
