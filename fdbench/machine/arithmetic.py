"""What the processor or the GPU computes in hardware."""

import torch

# As PyTorch names them (torch.cpu.get_capabilities): x86's two instruction sets, and ARM's.
_BF16 = ("avx512_bf16", "amx_bf16", "bf16")


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bfloat16 arithmetic; without it PyTorch emulates it, which is slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False  # an Apple GPU computes in it, but nothing here has been measured on one
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _BF16)
