"""How fast the kernels are: against what the device could do, and against plain torch.

`python -m kernels.benchmark --out DIR` measures on a GPU in some four minutes; `--device cpu
--quick` goes the same way with the torch backend and tiny sizes, and says nothing about speed.

    plan.py         which sizes are measured
    work.py         bytes and FLOPs that a call cannot do without
    case.py         one thing to measure, and the check of its result that comes before
    lora_cases.py, attention_cases.py, elementwise_cases.py    the cases
    baselines.py    what torch offers instead
    timing.py       the clock; device.py: what the device can do
    results.py, bars.py, plot.py    files, tables, what was asked for, the roofline
"""
