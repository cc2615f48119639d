"""A Llama-family model over the paged kernels: what really runs where the simulator reckons."""
