/* SPDX-License-Identifier: BSD-3-Clause */
/* Puts a fat binary (KERNELS is its path) in read-only data, under the name IMAGE. */
	.section .rodata
	.balign 64
	.globl IMAGE
	.hidden IMAGE
	.type IMAGE, %object
IMAGE:
	.incbin KERNELS
	.size IMAGE, . - IMAGE
	.section .note.GNU-stack,"",%progbits
