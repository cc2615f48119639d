"""Every serving decision, as plain state machines: told the time, holding no tensors."""
