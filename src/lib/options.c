#include <string.h>

#include "lib/lib.h"

bool lib_copy_sized(void *to, size_t ours, const void *from, size_t size) {
    memset(to, 0, ours);
    memcpy(to, from, size < ours ? size : ours);
    const unsigned char *bytes = from;
    for (size_t i = ours; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}
