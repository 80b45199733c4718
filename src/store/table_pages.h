/* The pages of an LMDB file, read without LMDB: LMDB maps the file and trusts every byte of it, so that a page which is
 * missing or not what it should be ends the process with a signal. This looks at all pages that the newest commit uses
 * before LMDB does: that each is inside the file, what the tree says it is, used once, and has its keys in order, and
 * that none of them is called free. What the values are is not known here; the checksums of the rows are for that.
 *
 * Nobody may write the file meanwhile. Reads all pages of trees once (about a GiB in a second when they are cached), of
 * large values only the beginnings. So that the start of a very large store does not wait for its disk, the leaves of a
 * file beyond `whole_bytes_max` are not read unless the file ends before its last page: that they are inside of it is
 * then all that is known of them. Memory: a bit for each page, and one page for each level of a tree. */
#pragma once

#include <stdint.h>

#include "base/error.h"

/* ERROR_DAMAGED names the file, the page and what helps. True, too, when there is no file, an empty one, or one that is
 * of no kind known here: LMDB will say what it thinks of it. */
bool table_pages_check(const char *file, uint64_t whole_bytes_max, struct error *error);
