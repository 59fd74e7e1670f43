"""How large a card's memory is: shares of it are fixed, so that nothing depends on who uses it too."""

import torch


def memory(device: torch.device) -> int:
    """Bytes of the card's memory."""
    return int(torch.cuda.get_device_properties(device).total_memory)
