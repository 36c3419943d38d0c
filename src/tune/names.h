/* SPDX-License-Identifier: BSD-3-Clause */
/* Lists of algorithms' names, comma-separated, as in HOCKET_ALGO. */
#ifndef HK_TUNE_NAMES_H
#define HK_TUNE_NAMES_H

#include <stdbool.h>

#define HK_NAME_BYTES 64

/* Copies the first name of *list, without the spaces around it, and moves *list past it. A name
 * that is too long is cut, and is then nobody's. false: there is none left. */
bool hk_names_next(const char **list, char name[HK_NAME_BYTES]);

#endif
