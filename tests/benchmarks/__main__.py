"""`make bench`: every benchmark, one after the other."""

from tests.benchmarks import memory, speed

speed.main()
memory.main()
