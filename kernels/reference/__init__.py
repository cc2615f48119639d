"""What the kernels compute, in float64 on the CPU: slow and obvious, for tests to compare with."""
