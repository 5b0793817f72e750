"""Networks for tests."""


def randomize(network):
    """Random biases and batch-norm statistics too, which new networks have at 0 and 1."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(std=0.3)
    return network
