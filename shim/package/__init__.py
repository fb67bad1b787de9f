"""Deployment packages: what is in them, and what Lambda has itself."""
