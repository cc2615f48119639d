"""Triton kernels for serving many LoRA adapters over one base model, and their paged pool.

Needs torch, triton and numpy; knows nothing of simlora.
"""
