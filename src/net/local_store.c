#include "net/local_store.h"

bool local_store_open(struct local_store *s, const char *path, uint64_t table_bytes,
                      const struct store_local_options *options, struct error *error) {
    if (!disk_posix_open(path, &s->disk, error)) {
        return false;
    }
    s->disk_open = true;
    s->table = table_lmdb_open(path, table_bytes, error);
    if (s->table == NULL) {
        return false;
    }
    s->store = store_local_open(&s->disk, s->table, options, error);
    return s->store != NULL;
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
