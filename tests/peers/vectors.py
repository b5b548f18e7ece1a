"""How programs are held to some vector instructions: variables that PyTorch and oneDNN, which TensorFlow uses too,
read at their first operation."""

LIMITS = {
    "avx512": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "baseline": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
}
