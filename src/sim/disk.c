#include "sim/disk.h"

#include <errno.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"

struct disk_file {
    struct sim_disk *disk;
    int inode;
};

/* ---- inodes ---- */

static size_t pages_up(size_t bytes) {
    return (bytes + SIM_DISK_PAGE - 1) / SIM_DISK_PAGE * SIM_DISK_PAGE;
}

static void inode_reserve(struct sim_inode *n, size_t bytes) {
    size_t capacity = pages_up(bytes);
    if (capacity <= n->capacity) {
        return;
    }
    n->cache = mem_resize(n->cache, capacity);
    n->platter = mem_resize(n->platter, capacity);
    n->dirty = mem_resize(n->dirty, capacity / SIM_DISK_SECTOR);
    memset(n->cache + n->capacity, 0, capacity - n->capacity);
    memset(n->platter + n->capacity, 0, capacity - n->capacity);
    memset(n->dirty + n->capacity / SIM_DISK_SECTOR, 0, (capacity - n->capacity) / SIM_DISK_SECTOR);
    n->capacity = capacity;
}

static void inode_free(struct sim_inode *n) {
    mem_free(n->cache);
    mem_free(n->platter);
    mem_free(n->dirty);
    memset(n, 0, sizeof *n);
}

static void inode_write(struct sim_inode *n, uint64_t offset, struct span from) {
    if (from.len == 0) {
        return;
    }
    size_t end = (size_t)offset + from.len;
    inode_reserve(n, end);
    memcpy(n->cache + offset, from.ptr, from.len);
    const size_t first = (size_t)offset / SIM_DISK_SECTOR, last = (end + SIM_DISK_SECTOR - 1) / SIM_DISK_SECTOR;
    memset(n->dirty + first, 1, last - first);
    n->dirty_begin = n->any_dirty && n->dirty_begin < first ? n->dirty_begin : first;
    n->dirty_end = n->any_dirty && n->dirty_end > last ? n->dirty_end : last;
    n->any_dirty = true;
    if (end > n->cache_size) {
        n->cache_size = end;
    }
}

static void inode_cut(struct sim_inode *n, size_t size) {
    if (size >= n->cache_size) {
        return;
    }
    const size_t kept = (size + SIM_DISK_SECTOR - 1) / SIM_DISK_SECTOR;
    memset(n->cache + size, 0, n->capacity - size);
    memset(n->dirty + kept, 0, n->capacity / SIM_DISK_SECTOR - kept);
    n->cut_size = n->was_cut && n->cut_size < size ? n->cut_size : size;
    n->was_cut = true;
    n->cache_size = size;
}

/* The cut reaches the platter. */
static void cut_save(struct sim_inode *n) {
    if (n->was_cut) {
        memset(n->platter + n->cut_size, 0, n->capacity - n->cut_size);
        n->was_cut = false;
    }
}

static void sector_save(struct sim_inode *n, size_t sector) {
    memcpy(n->platter + sector * SIM_DISK_SECTOR, n->cache + sector * SIM_DISK_SECTOR, SIM_DISK_SECTOR);
}

static void inode_sync(struct sim_inode *n) {
    cut_save(n);
    if (n->any_dirty) {
        for (size_t s = n->dirty_begin; s < n->dirty_end; s++) {
            if (n->dirty[s] != 0) {
                sector_save(n, s);
                n->dirty[s] = 0;
            }
        }
        n->any_dirty = false;
    }
    n->platter_size = n->cache_size;
}

/* ---- settling what was not synced ---- */

static void sector_garbage(struct sim_inode *n, size_t sector, struct choices *choices) {
    struct prng noise = prng_of(choose(choices, 1U << 16));
    uint8_t *at = n->platter + sector * SIM_DISK_SECTOR;
    for (size_t i = 0; i < SIM_DISK_SECTOR; i++) {
        at[i] = (uint8_t)prng_next(&noise);
    }
}

/* One page: kept, dropped, torn, or torn with garbage. */
static void page_settle(struct sim_inode *n, size_t page, struct choices *choices, uint32_t fate) {
    const size_t first = page * (SIM_DISK_PAGE / SIM_DISK_SECTOR);
    for (size_t s = first; s < first + SIM_DISK_PAGE / SIM_DISK_SECTOR; s++) {
        if (n->dirty[s] == 0) {
            continue;
        }
        n->dirty[s] = 0;
        uint32_t what = fate >= 2 ? choose(choices, fate) : 1 - fate;
        if (what == 1) {
            sector_save(n, s);
        } else if (what == 2) {
            sector_garbage(n, s, choices);
        }
    }
}

static bool page_dirty(const struct sim_inode *n, size_t page) {
    const size_t sectors = SIM_DISK_PAGE / SIM_DISK_SECTOR;
    for (size_t s = page * sectors; s < (page + 1) * sectors; s++) {
        if (n->dirty[s] != 0) {
            return true;
        }
    }
    return false;
}

static void inode_settle(struct sim_inode *n, struct choices *choices, enum sim_power how) {
    if (n->was_cut && (how == SIM_POWER_KEEP || (how == SIM_POWER_CHOOSE && choose(choices, 2) == 0))) {
        n->platter_size = n->platter_size < n->cut_size ? n->platter_size : n->cut_size;
        cut_save(n);
    }
    n->was_cut = false;
    for (size_t page = 0; n->any_dirty && page < n->capacity / SIM_DISK_PAGE; page++) {
        if (!page_dirty(n, page)) {
            continue;
        }
        /* 0: kept, 1: dropped, 2: each sector kept or dropped, 3: or garbage. */
        uint32_t fate = how == SIM_POWER_DROP ? 1 : how == SIM_POWER_KEEP ? 0 : choose(choices, 4);
        page_settle(n, page, choices, fate);
    }
    n->any_dirty = false;
    if (n->cache_size != n->platter_size) {
        bool keep = how == SIM_POWER_KEEP || (how == SIM_POWER_CHOOSE && choose(choices, 2) == 0);
        if (keep) {
            n->platter_size = n->cache_size;
        }
    }
    if (n->platter_size < n->capacity) {
        memset(n->platter + n->platter_size, 0, n->capacity - n->platter_size);
    }
}

static void inode_reread(struct sim_inode *n) {
    if (n->capacity > 0) {
        memcpy(n->cache, n->platter, n->capacity);
    }
    n->cache_size = n->platter_size;
}

/* ---- names ---- */

static struct sim_name *name_find(struct sim_disk *d, const char *name) {
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        if (d->names[i].inode >= 0 && strcmp(d->names[i].name, name) == 0) {
            return &d->names[i];
        }
    }
    return NULL;
}

static void name_put(struct sim_disk *d, const struct sim_name *entry) {
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        if (d->names[i].inode < 0) {
            d->names[i] = *entry;
            d->inodes[entry->inode].names++;
            return;
        }
    }
    must_fail("an entry for another file", __FILE__, __LINE__, __func__);
}

static void name_drop(struct sim_disk *d, const char *name) {
    struct sim_name *entry = name_find(d, name);
    if (entry != NULL) {
        d->inodes[entry->inode].names--;
        entry->inode = -1;
    }
}

static bool name_changed(const struct sim_disk *d, int inode) {
    for (size_t i = 0; i < d->change_count; i++) {
        if (d->changes[i].entry.inode == inode) {
            return true;
        }
    }
    return false;
}

static int inode_new(struct sim_disk *d) {
    for (int i = 0; i < SIM_DISK_FILES_MAX; i++) {
        struct sim_inode *n = &d->inodes[i];
        if (n->names == 0 && n->handles == 0 && !name_changed(d, i)) {
            inode_free(n);
            return i;
        }
    }
    must_fail("an inode for another file", __FILE__, __LINE__, __func__);
}

static void change_add(struct sim_disk *d, bool created, const struct sim_name *entry) {
    must(d->change_count < sizeof d->changes / sizeof d->changes[0]);
    d->changes[d->change_count++] = (struct sim_name_change){created, *entry};
}

/* Undoes un-synced changes from the newest back. A change of a name is kept only when every older change of that name
 * is kept too; going backwards, that means: once one is kept, the older ones of that name are. */
static void names_settle(struct sim_disk *d, enum sim_power how) {
    char kept[SIM_DISK_FILES_MAX * 4][SIM_DISK_NAME_BYTES];
    size_t kept_count = 0;
    for (size_t i = d->change_count; i-- > 0;) {
        const struct sim_name_change *change = &d->changes[i];
        bool keep = how == SIM_POWER_KEEP || (how == SIM_POWER_CHOOSE && choose(d->choices, 2) == 0);
        for (size_t k = 0; k < kept_count && !keep; k++) {
            keep = strcmp(kept[k], change->entry.name) == 0;
        }
        if (keep) {
            memcpy(kept[kept_count++], change->entry.name, SIM_DISK_NAME_BYTES);
        } else if (change->created) {
            name_drop(d, change->entry.name);
        } else {
            name_put(d, &change->entry);
        }
    }
    d->change_count = 0;
}

/* ---- the calls ---- */

/* Counts a call. False when it must not be made: the power is off, goes now, or the call is to fail. */
static bool call(struct sim_disk *d, struct error *error) {
    d->calls++;
    if (d->crash_at != 0 && d->calls >= d->crash_at) {
        d->off = true;
    }
    if (d->off) {
        return error_set(error, ERROR_CRASHED, 0, "the power is off");
    }
    if (d->fail_at != 0 && d->calls >= d->fail_at) {
        d->fail_at = 0;
        return error_set(error, ERROR_IO, EIO, "the simulated disk was told to fail");
    }
    return true;
}

static bool power_goes_now(const struct sim_disk *d) {
    return d->off && d->calls == d->crash_at;
}

static struct disk_file *call_open(void *user, const char *name, bool create, struct error *error) {
    struct sim_disk *d = user;
    must(strlen(name) < SIM_DISK_NAME_BYTES);
    if (!call(d, error)) {
        return NULL;
    }
    struct sim_name *entry = name_find(d, name);
    int inode = entry != NULL ? entry->inode : -1;
    if (inode < 0) {
        if (!create) {
            error_set(error, ERROR_IO, ENOENT, "%s does not exist", name);
            return NULL;
        }
        if (d->no_space) {
            error_set(error, ERROR_NO_SPACE, ENOSPC, "no space for %s", name);
            return NULL;
        }
        struct sim_name made = {.inode = inode = inode_new(d)};
        snprintf(made.name, sizeof made.name, "%s", name);
        name_put(d, &made);
        change_add(d, true, &made);
    }
    struct disk_file *file = mem_zero(1, sizeof *file);
    *file = (struct disk_file){d, inode};
    d->inodes[inode].handles++;
    return file;
}

static void call_close(void *user, struct disk_file *file) {
    struct sim_disk *d = user;
    d->inodes[file->inode].handles--;
    mem_free(file);
}

static bool call_size(void *user, struct disk_file *file, uint64_t *bytes, struct error *error) {
    struct sim_disk *d = user;
    *bytes = d->inodes[file->inode].cache_size;
    return call(d, error);
}

static bool call_read(void *user, struct disk_file *file, uint64_t offset, void *to, size_t bytes,
                      struct error *error) {
    struct sim_disk *d = user;
    const struct sim_inode *n = &d->inodes[file->inode];
    if (!call(d, error)) {
        return false;
    }
    if (offset > n->cache_size || bytes > n->cache_size - offset) {
        return error_set(error, ERROR_IO, 0, "a read beyond the end of the file");
    }
    if (bytes > 0) {
        memcpy(to, n->cache + offset, bytes);
    }
    return true;
}

static bool call_write(void *user, struct disk_file *file, uint64_t offset, struct span from, struct error *error) {
    struct sim_disk *d = user;
    struct sim_inode *n = &d->inodes[file->inode];
    if (!call(d, error)) {
        if (power_goes_now(d)) {
            from.len = choose(d->choices, (uint32_t)(from.len / SIM_DISK_SECTOR) + 1) * SIM_DISK_SECTOR;
            inode_write(n, offset, from);
        }
        return false;
    }
    if (d->no_space && offset + from.len > n->cache_size) {
        return error_set(error, ERROR_NO_SPACE, ENOSPC, "no space for %zu bytes", from.len);
    }
    inode_write(n, offset, from);
    d->writes++;
    return true;
}

static bool call_cut(void *user, struct disk_file *file, uint64_t bytes, struct error *error) {
    struct sim_disk *d = user;
    const bool ok = call(d, error);
    if (ok || power_goes_now(d)) {
        inode_cut(&d->inodes[file->inode], (size_t)bytes);
    }
    return ok;
}

/* The sync failed: some pages went out, the others are forgotten although the cache still shows them. */
static void sync_forget(struct sim_inode *n, struct choices *choices) {
    for (size_t page = 0; page < n->capacity / SIM_DISK_PAGE; page++) {
        if (page_dirty(n, page)) {
            page_settle(n, page, choices, choose(choices, 2));
        }
    }
    n->any_dirty = false;
}

static bool call_sync(void *user, struct disk_file *file, struct error *error) {
    struct sim_disk *d = user;
    struct sim_inode *n = &d->inodes[file->inode];
    if (!call(d, error)) {
        if (power_goes_now(d) && choose(d->choices, 2) == 1) {
            inode_sync(n);
        } else if (error->kind == ERROR_IO) {
            sync_forget(n, d->choices);
        }
        return false;
    }
    inode_sync(n);
    d->syncs++;
    return true;
}

static bool call_remove(void *user, const char *name, struct error *error) {
    struct sim_disk *d = user;
    if (!call(d, error)) {
        return false;
    }
    struct sim_name *entry = name_find(d, name);
    if (entry == NULL) {
        return error_set(error, ERROR_IO, ENOENT, "%s does not exist", name);
    }
    change_add(d, false, entry);
    name_drop(d, name);
    return true;
}

static bool call_sync_directory(void *user, struct error *error) {
    struct sim_disk *d = user;
    if (!call(d, error)) {
        return false;
    }
    d->change_count = 0;
    return true;
}

static bool call_list(void *user, void (*visit)(void *context, const char *name), void *context, struct error *error) {
    struct sim_disk *d = user;
    if (!call(d, error)) {
        return false;
    }
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        if (d->names[i].inode >= 0) {
            visit(context, d->names[i].name);
        }
    }
    return true;
}

struct disk sim_disk_interface(struct sim_disk *d) {
    return (struct disk){.user = d,
                         .open = call_open,
                         .close = call_close,
                         .size = call_size,
                         .read = call_read,
                         .write = call_write,
                         .cut = call_cut,
                         .sync = call_sync,
                         .remove = call_remove,
                         .sync_directory = call_sync_directory,
                         .list = call_list};
}

/* ---- the machine ---- */

void sim_disk_init(struct sim_disk *d, struct choices *choices) {
    memset(d, 0, sizeof *d);
    d->choices = choices;
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        d->names[i].inode = -1;
    }
}

void sim_disk_deinit(struct sim_disk *d) {
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        inode_free(&d->inodes[i]);
    }
}

void sim_disk_power_cut(struct sim_disk *d, enum sim_power how) {
    d->off = true;
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        inode_settle(&d->inodes[i], d->choices, how);
        inode_reread(&d->inodes[i]);
    }
    names_settle(d, how);
}

void sim_disk_power_on(struct sim_disk *d) {
    d->off = false;
    d->crash_at = 0;
    d->fail_at = 0;
}

void sim_disk_evict(struct sim_disk *d) {
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        struct sim_inode *n = &d->inodes[i];
        for (size_t s = 0; s < n->capacity / SIM_DISK_SECTOR; s++) {
            if (n->dirty[s] == 0) {
                memcpy(n->cache + s * SIM_DISK_SECTOR, n->platter + s * SIM_DISK_SECTOR, SIM_DISK_SECTOR);
            }
        }
    }
}

void sim_disk_copy(struct sim_disk *to, const struct sim_disk *from, struct choices *choices) {
    *to = *from;
    to->choices = choices;
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        struct sim_inode *n = &to->inodes[i];
        n->handles = 0;
        if (n->capacity > 0) {
            n->cache = mem_copy(from->inodes[i].cache, n->capacity);
            n->platter = mem_copy(from->inodes[i].platter, n->capacity);
            n->dirty = mem_copy(from->inodes[i].dirty, n->capacity / SIM_DISK_SECTOR);
        }
    }
}

bool sim_disk_clean(const struct sim_disk *d) {
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        const struct sim_inode *n = &d->inodes[i];
        if (n->names > 0 && (n->any_dirty || n->cache_size != n->platter_size)) {
            return false;
        }
    }
    return d->change_count == 0;
}

uint64_t sim_disk_digest(const struct sim_disk *d) {
    uint64_t sum = 0;
    for (size_t i = 0; i < SIM_DISK_FILES_MAX; i++) {
        const struct sim_name *entry = &d->names[i];
        if (entry->inode < 0) {
            continue;
        }
        const struct sim_inode *n = &d->inodes[entry->inode];
        uint64_t one = hash_bytes(span_str(entry->name), n->cache_size * 2 + n->platter_size);
        one = hash_bytes(span_of(n->cache, n->cache_size), one);
        if (n->any_dirty || (n->capacity > 0 && memcmp(n->cache, n->platter, n->capacity) != 0)) {
            one = hash_bytes(span_of(n->platter, n->platter_size), one + 1);
            one = hash_bytes(span_of(n->dirty, n->capacity / SIM_DISK_SECTOR), one);
        }
        sum += hash64(one, 1);
    }
    for (size_t i = 0; i < d->change_count; i++) {
        sum = hash_bytes(span_str(d->changes[i].entry.name), sum + d->changes[i].created);
    }
    return hash64(sum, d->off);
}
