"""Proof of a located collapse: sites reverted to base weights, beside random sites and a plain temperature."""
