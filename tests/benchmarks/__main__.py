"""`make bench`: every benchmark, one after the other."""

from tests.benchmarks import eviction, memory, speed

speed.main()
eviction.main()
memory.main()
