"""The harness lmms-eval runs vqazoo's models as its model `vqazoo`."""
