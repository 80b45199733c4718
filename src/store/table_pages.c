/* The format (data version 1 of LMDB, numbers in the machine's order, 8-byte page numbers):
 *
 *     file         pages of one size; pages 0 and 1 are metas, of which the one with the greater transaction counts
 *     page         number 8 | unused 2 | kind 2 | lower 2 | upper 2 | places of nodes, 2 each, up to lower ... nodes
 *     large value  number 8 | unused 2 | kind 2 | how many pages 4 | bytes of the value
 *     meta         page header 16 | magic 4 | version 4 | address 8 | map 8 | tree of free pages 48 | main tree 48 |
 *                  last page 8 | transaction 8
 *     tree         in a meta: page size, else unused 4 | flags 2 | depth 2 | numbers of pages 3 * 8 | entries 8 |
 *                  root 8
 *     node         low 2 | high 2 | flags 2 | bytes of key 2 | key | data
 *
 * In a leaf, low and high are the bytes of data; in a branch, with the flags, the number of a page. The main tree holds
 * the other trees. An entry of the tree of free pages is a count and so many page numbers, falling. */
#include "store/table_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/span.h"

enum {
    PAGE_HEADER = 16,
    NODE_HEADER = 8,
    META_BYTES = 136, /* behind the page header */
    TREE_BYTES = 48,
    KEY_BYTES_MAX = 511,
    DEPTH_MAX = 32,
    TREES_MAX = 64,
    PAGE_BYTES_MIN = 512,
    PAGE_BYTES_MAX = 65536,
    FREE_PAGES_AT_ONCE = 512,
};

enum { KIND_BRANCH = 0x01, KIND_LEAF = 0x02, KIND_LARGE = 0x04, KIND_META = 0x08, KIND_ALL = 0x6f };
enum { NODE_LARGE = 0x01, NODE_TREE = 0x02 };

#define META_MAGIC 0xBEEFC0DEU
#define META_VERSION 1U
#define NO_PAGE UINT64_MAX

struct tree {
    uint16_t flags;
    uint16_t depth;
    uint64_t root;
};

struct level {
    uint8_t *page; /* page_bytes of them; NULL: not needed yet */
    unsigned count;
    unsigned next; /* of the nodes */
};

struct pages {
    int fd;
    uint64_t file_bytes;
    uint64_t whole_bytes_max;
    uint64_t page_bytes;
    uint64_t page_last;
    uint8_t *used; /* a bit for each page inside the file */
    struct tree trees[TREES_MAX];
    size_t tree_count;
    struct level levels[DEPTH_MAX];
    /* of the tree under way: */
    bool of_free;    /* it is the tree of free pages, */
    bool of_main;    /* or the main tree */
    bool leafless;   /* its leaves are not read */
    struct span key; /* the last key; empty: none yet */
    uint8_t key_kept[KEY_BYTES_MAX];
    struct error *error;
};

static uint16_t u16_at(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t u32_at(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t u64_at(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

#define HELP "'quartet store repair' cannot mend that: put the whole directory back from a backup"

static bool damaged(const struct pages *p, uint64_t page, const char *what) {
    return error_set(p->error, ERROR_DAMAGED, 0,
                     "table.mdb is damaged: page %" PRIu64 " (at byte %" PRIu64 ") %s; " HELP, page,
                     page * p->page_bytes, what);
}

static bool cut_short(const struct pages *p, uint64_t bytes) {
    return error_set(p->error, ERROR_DAMAGED, 0,
                     "table.mdb has %" PRIu64 " bytes, but at least %" PRIu64 " are in use: its end is missing; " HELP,
                     p->file_bytes, bytes);
}

static bool read_at(const struct pages *p, uint64_t offset, void *to, size_t bytes) {
    uint8_t *at = to;
    while (bytes > 0) {
        ssize_t n = pread(p->fd, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return error_set(p->error, ERROR_IO, n < 0 ? errno : 0, "cannot read table.mdb at byte %" PRIu64 ": %s",
                             offset, n < 0 ? strerror(errno) : "it ends there");
        }
        at += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Marks pages as used, or as free; each may be one of both once. Free ones may lie beyond the end of the file: they
 * were given back before they were ever written. */
static bool mark(struct pages *p, uint64_t page, uint64_t count, bool used) {
    if (page < 2 || page > p->page_last || count > p->page_last - page + 1) {
        return damaged(p, page, "is referred to, but the file should have no such page");
    }
    uint64_t inside = p->file_bytes / p->page_bytes;
    if (used && page + count > inside) {
        return cut_short(p, (page + count) * p->page_bytes);
    }
    for (uint64_t i = page; i < page + count && i < inside; i++) {
        uint8_t bit = (uint8_t)(1U << i % 8);
        if ((p->used[i / 8] & bit) != 0) {
            return damaged(p, i, used ? "is used twice" : "is free twice, or used");
        }
        p->used[i / 8] |= bit;
    }
    return true;
}

/* ---- nodes ---- */

static int key_compare(const struct pages *p, struct span a, struct span b) {
    if (p->of_free) {
        uint64_t x = u64_at(a.ptr);
        uint64_t y = u64_at(b.ptr);
        return x < y ? -1 : x > y;
    }
    int order = memcmp(a.ptr, b.ptr, a.len < b.len ? a.len : b.len);
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static bool key_follows(struct pages *p, uint64_t page, struct span key) {
    if (key.len == 0 || key.len > KEY_BYTES_MAX || (p->of_free && key.len != sizeof(uint64_t))) {
        return damaged(p, page, "has a key of a wrong size");
    }
    if (p->key.len > 0 && key_compare(p, key, p->key) <= 0) {
        return damaged(p, page, "has keys out of order");
    }
    p->key = key;
    return true;
}

/* The list of `bytes` bytes at `offset` in the file. */
static bool free_list(struct pages *p, uint64_t page, uint64_t offset, uint64_t bytes) {
    uint64_t numbers[FREE_PAGES_AT_ONCE];
    uint64_t count = 0;
    uint64_t last = NO_PAGE;
    if (bytes >= sizeof count && !read_at(p, offset, &count, sizeof count)) {
        return false;
    }
    if (bytes < sizeof count || count > bytes / sizeof count - 1) {
        return damaged(p, page, "has a list of free pages that is too short");
    }
    while (count > 0) {
        uint64_t n = count < FREE_PAGES_AT_ONCE ? count : FREE_PAGES_AT_ONCE;
        offset += last == NO_PAGE ? sizeof count : FREE_PAGES_AT_ONCE * sizeof count;
        if (!read_at(p, offset, numbers, n * sizeof count)) {
            return false;
        }
        for (uint64_t i = 0; i < n; i++) {
            if (numbers[i] >= last) {
                return damaged(p, page, "has a list of free pages that is out of order");
            }
            last = numbers[i];
            if (!mark(p, last, 1, false)) {
                return false;
            }
        }
        count -= n;
    }
    return true;
}

static bool tree_add(struct pages *p, uint64_t page, const uint8_t *at) {
    struct tree tree = {u16_at(at + 4), u16_at(at + 6), u64_at(at + 40)};
    if (p->tree_count == TREES_MAX || tree.flags != 0) {
        return damaged(p, page, "holds a tree of an unknown kind");
    }
    p->trees[p->tree_count++] = tree;
    return true;
}

/* A value that has pages of its own. */
static bool large_value(struct pages *p, uint64_t page, uint64_t bytes, const uint8_t *at) {
    uint8_t header[PAGE_HEADER];
    uint64_t first = u64_at(at);
    uint64_t needed = (PAGE_HEADER - 1 + bytes) / p->page_bytes + 1;
    if (!mark(p, first, 1, true) || !read_at(p, first * p->page_bytes, header, sizeof header)) {
        return false;
    }
    uint64_t count = u32_at(header + 12);
    if (u64_at(header) != first || (u16_at(header + 10) & KIND_ALL) != KIND_LARGE || count < needed) {
        return damaged(p, first, "does not hold the large value that it should");
    }
    return (count == 1 || mark(p, first + 1, count - 1, true)) &&
           (!p->of_free || free_list(p, page, first * p->page_bytes + PAGE_HEADER, bytes));
}

/* One node of a leaf; it begins at `place` in the page, and the end of the page is far enough for its header. */
static bool leaf_node(struct pages *p, uint64_t page, const uint8_t *bytes, uint64_t place) {
    const uint8_t *node = bytes + place;
    uint64_t data_bytes = u16_at(node) | (uint64_t)u16_at(node + 2) << 16;
    uint16_t flags = u16_at(node + 4);
    uint64_t data = place + NODE_HEADER + u16_at(node + 6);
    uint64_t here = (flags & NODE_LARGE) != 0 ? sizeof(uint64_t) : data_bytes;
    if (data > p->page_bytes || here > p->page_bytes - data ||
        (p->of_main ? flags != NODE_TREE || data_bytes != TREE_BYTES : (flags & ~NODE_LARGE) != 0)) {
        return damaged(p, page, "has a row that cannot be");
    }
    if (!key_follows(p, page, span_of(node + NODE_HEADER, u16_at(node + 6)))) {
        return false;
    }
    if (p->of_main) {
        return tree_add(p, page, bytes + data);
    }
    if ((flags & NODE_LARGE) != 0) {
        return large_value(p, page, data_bytes, bytes + data);
    }
    return !p->of_free || free_list(p, page, page * p->page_bytes + data, data_bytes);
}

/* ---- trees ---- */

static uint64_t place_of(const struct level *level, unsigned node) {
    return u16_at(level->page + PAGE_HEADER + node * sizeof(uint16_t));
}

/* Reads a page of a tree into its level and sees that all its nodes begin inside of it. */
static bool level_read(struct pages *p, unsigned depth, bool leaf, uint64_t page) {
    struct level *level = &p->levels[depth];
    if (level->page == NULL) {
        level->page = mem_alloc(p->page_bytes);
    }
    if (!mark(p, page, 1, true) || !read_at(p, page * p->page_bytes, level->page, p->page_bytes)) {
        return false;
    }
    unsigned kind = u16_at(level->page + 10) & KIND_ALL;
    unsigned lower = u16_at(level->page + 12);
    unsigned upper = u16_at(level->page + 14);
    if (u64_at(level->page) != page || kind != (leaf ? KIND_LEAF : KIND_BRANCH)) {
        return damaged(p, page, leaf ? "is not the leaf of a tree" : "is not the branch of a tree");
    }
    unsigned least = leaf || p->of_free ? 1 : 2;
    level->count = lower < PAGE_HEADER ? 0 : (lower - PAGE_HEADER) / sizeof(uint16_t);
    level->next = 0;
    if (level->count < least || lower > upper || upper > p->page_bytes) {
        return damaged(p, page, "has a header that cannot be");
    }
    for (unsigned i = 0; i < level->count; i++) {
        if (place_of(level, i) < upper || place_of(level, i) > p->page_bytes - NODE_HEADER) {
            return damaged(p, page, "has a row that begins outside of it");
        }
    }
    return true;
}

static bool leaf_look(struct pages *p, const struct level *level) {
    uint64_t page = u64_at(level->page);
    for (unsigned i = 0; i < level->count; i++) {
        if (!leaf_node(p, page, level->page, place_of(level, i))) {
            return false;
        }
    }
    memcpy(p->key_kept, p->key.ptr, p->key.len); /* the next leaf takes the place of this one */
    p->key.ptr = p->key_kept;
    return true;
}

/* The page below the next node of a branch. A branch's first key is not used and may be empty. */
static bool branch_next(struct pages *p, struct level *level, uint64_t *below) {
    const uint8_t *node = level->page + place_of(level, level->next);
    uint64_t key_bytes = u16_at(node + 6);
    if (place_of(level, level->next) + NODE_HEADER + key_bytes > p->page_bytes || key_bytes > KEY_BYTES_MAX) {
        return damaged(p, u64_at(level->page), "has a row that cannot be");
    }
    *below = u16_at(node) | (uint64_t)u16_at(node + 2) << 16 | (uint64_t)u16_at(node + 4) << 32;
    level->next++;
    return true;
}

/* The branch above the leaves, which are not read. */
static bool leaves_pass(struct pages *p, struct level *level) {
    uint64_t below = NO_PAGE;
    while (level->next < level->count) {
        if (!branch_next(p, level, &below) || !mark(p, below, 1, true)) {
            return false;
        }
    }
    return true;
}

static bool tree_look(struct pages *p, const struct tree *tree) {
    unsigned depth = 0;
    p->key = span_of(NULL, 0);
    if (tree->root == NO_PAGE) {
        return true;
    }
    if (tree->depth == 0 || tree->depth > DEPTH_MAX) {
        return damaged(p, tree->root, "is the root of a tree without a depth");
    }
    if (!level_read(p, 0, tree->depth == 1, tree->root)) {
        return false;
    }
    for (;;) {
        struct level *level = &p->levels[depth];
        uint64_t below = NO_PAGE;
        if (depth + 1 == tree->depth) {
            if (!leaf_look(p, level)) {
                return false;
            }
            level->next = level->count;
        }
        if (p->leafless && depth + 2 == tree->depth && !leaves_pass(p, level)) {
            return false;
        }
        if (level->next < level->count) {
            depth++;
            if (!branch_next(p, level, &below) || !level_read(p, depth, depth + 1 == tree->depth, below)) {
                return false;
            }
        } else if (depth-- == 0) {
            return true;
        }
    }
}

/* ---- the file ---- */

/* Reads both metas; `*known` is false when they are not what this file knows. */
static bool metas_read(struct pages *p, struct tree core[2], bool *known) {
    uint64_t newest = 0;
    *known = false;
    for (uint64_t i = 0; i < 2; i++) {
        uint8_t page[PAGE_HEADER + META_BYTES];
        if (i * p->page_bytes + sizeof page > p->file_bytes) {
            return cut_short(p, 2 * p->page_bytes);
        }
        if (!read_at(p, i * p->page_bytes, page, sizeof page)) {
            return false;
        }
        const uint8_t *meta = page + PAGE_HEADER;
        if ((u16_at(page + 10) & KIND_META) == 0 || u32_at(meta) != META_MAGIC || u32_at(meta + 4) != META_VERSION) {
            return true;
        }
        uint64_t page_bytes = u32_at(meta + 24);
        if (page_bytes < PAGE_BYTES_MIN || page_bytes > PAGE_BYTES_MAX || (page_bytes & (page_bytes - 1)) != 0 ||
            (i == 1 && page_bytes != p->page_bytes)) {
            return damaged(p, i, "tells a size of pages that cannot be");
        }
        p->page_bytes = page_bytes;
        if (i == 0 || u64_at(meta + 128) > newest) {
            newest = u64_at(meta + 128);
            p->page_last = u64_at(meta + 120);
            core[0] = (struct tree){0, u16_at(meta + 24 + 6), u64_at(meta + 24 + 40)};
            core[1] = (struct tree){u16_at(meta + 72 + 4), u16_at(meta + 72 + 6), u64_at(meta + 72 + 40)};
        }
    }
    *known = true;
    return true;
}

/* The lists of free pages come last: what they name must not be used by any tree. */
static bool look(struct pages *p) {
    struct tree core[2];
    bool known;
    if (!metas_read(p, core, &known) || !known) {
        return !known && p->error->kind == ERROR_NONE;
    }
    if (p->page_last >= UINT64_MAX / p->page_bytes || core[1].flags != 0) {
        return damaged(p, 0, "or 1 tells of a main tree that cannot be");
    }
    p->used = mem_zero(p->file_bytes / p->page_bytes / 8 + 1, 1);
    p->of_main = true;
    bool ok = tree_look(p, &core[1]);
    p->of_main = false;
    bool ends_early = p->page_last >= p->file_bytes / p->page_bytes; /* then only the leaves tell what is missing */
    p->leafless = !ends_early && p->file_bytes > p->whole_bytes_max;
    for (size_t i = 0; ok && i < p->tree_count; i++) {
        ok = tree_look(p, &p->trees[i]);
    }
    p->leafless = false;
    p->of_free = true;
    return ok && tree_look(p, &core[0]);
}

bool table_pages_check(const char *file, uint64_t whole_bytes_max, struct error *error) {
    struct stat status;
    int fd;
    do {
        fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno == ENOENT ||
               error_set(error, error_kind_of(errno), errno, "cannot open %s: %s", file, strerror(errno));
    }
    *error = (struct error){.kind = ERROR_NONE};
    bool ok =
        fstat(fd, &status) == 0 || error_set(error, ERROR_IO, errno, "cannot look at %s: %s", file, strerror(errno));
    if (ok && S_ISREG(status.st_mode) && status.st_size > 0) {
        struct pages *p = mem_zero(1, sizeof *p);
        p->fd = fd;
        p->error = error;
        p->file_bytes = (uint64_t)status.st_size;
        p->whole_bytes_max = whole_bytes_max;
        p->page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
        ok = look(p);
        for (unsigned i = 0; i < DEPTH_MAX; i++) {
            mem_free(p->levels[i].page);
        }
        mem_free(p->used);
        mem_free(p);
    }
    (void)close(fd);
    return ok;
}
