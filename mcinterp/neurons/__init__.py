"""Neurons of the MLPs that set how sure a model is: found in the weights, ablated, and compared between stages."""
