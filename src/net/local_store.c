#include "net/local_store.h"

#include <sys/statvfs.h>

#define LIMIT_LEAST (1ULL << 30)

bool local_store_open(struct local_store *s, const char *path, uint64_t table_bytes,
                      const struct store_local_options *options, struct error *error) {
    if (!disk_posix_open(path, &s->disk, error)) {
        return false;
    }
    s->disk_open = true;
    if (table_lmdb_missing(path) && !store_local_may_begin(&s->disk, error)) {
        return false;
    }
    s->table = table_lmdb_open(path, table_bytes, error);
    if (s->table == NULL) {
        return false;
    }
    s->store = store_local_open(&s->disk, s->table, options, error);
    return s->store != NULL;
}

uint64_t local_store_limit(const struct local_store *s, const char *path, uint64_t limit) {
    struct statvfs vfs;
    if (limit != 0) {
        return limit;
    }
    uint64_t own = s != NULL && s->store != NULL ? store_local_disk_bytes(s->store) : 0;
    uint64_t free = statvfs(path, &vfs) == 0 ? (uint64_t)vfs.f_bavail * vfs.f_frsize : 0;
    return (free + own) / 2 > LIMIT_LEAST ? (free + own) / 2 : LIMIT_LEAST;
}

void local_store_close(struct local_store *s) {
    if (s->store != NULL) {
        store_local_close(s->store);
    }
    if (s->table != NULL) {
        s->table->ops->close(s->table);
    }
    if (s->disk_open) {
        disk_posix_close(&s->disk);
    }
    *s = (struct local_store){0};
}
