/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts the fat binary (KERNELS is its path) in the library's read-only data. */
	.section .rodata
	.balign 64
	.globl hk_gpu_image
	.hidden hk_gpu_image
	.type hk_gpu_image, %object
hk_gpu_image:
	.incbin KERNELS
	.size hk_gpu_image, . - hk_gpu_image
	.section .note.GNU-stack,"",%progbits
