/* The simulated disk keeps what was synced and nothing else, and fails when it is told to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sim/disk.h"

struct fixture {
    struct choices choices;
    struct sim_disk disk;
    struct disk calls;
    struct error error;
};

static void begin(struct fixture *f, uint64_t seed) {
    *f = (struct fixture){0};
    choices_start(&f->choices, seed, NULL, 0, true);
    sim_disk_init(&f->disk, &f->choices);
    f->calls = sim_disk_interface(&f->disk);
}

static void end(struct fixture *f) {
    sim_disk_deinit(&f->disk);
    choices_deinit(&f->choices);
}

static struct disk_file *file(struct fixture *f, bool create) {
    return f->calls.open(f->calls.user, "one", create, &f->error);
}

static bool put(struct fixture *f, struct disk_file *to, uint64_t at, char byte, size_t bytes) {
    uint8_t text[8192];
    memset(text, byte, sizeof text);
    return f->calls.write(f->calls.user, to, at, span_of(text, bytes), &f->error);
}

static char get(struct fixture *f, struct disk_file *from, uint64_t at) {
    uint8_t byte = '?';
    assert_true(f->calls.read(f->calls.user, from, at, &byte, 1, &f->error));
    return (char)byte;
}

/* A synced file of 8 KiB of 'a' with a synced name. */
static void settle(struct fixture *f) {
    struct disk_file *one = file(f, true);
    assert_true(put(f, one, 0, 'a', 8192));
    assert_true(f->calls.sync(f->calls.user, one, &f->error));
    assert_true(f->calls.sync_directory(f->calls.user, &f->error));
    f->calls.close(f->calls.user, one);
    assert_true(sim_disk_clean(&f->disk));
}

static void power(struct fixture *f, enum sim_power how) {
    sim_disk_power_cut(&f->disk, how);
    sim_disk_power_on(&f->disk);
}

static void what_is_not_synced_is_dropped(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    settle(&f);
    struct disk_file *one = file(&f, false);
    assert_true(put(&f, one, 4096, 'b', 4096));
    assert_int_equal(get(&f, one, 4096), 'b');
    f.calls.close(f.calls.user, one);
    assert_false(sim_disk_clean(&f.disk));
    power(&f, SIM_POWER_DROP);
    one = file(&f, false);
    assert_int_equal(get(&f, one, 4095), 'a');
    assert_int_equal(get(&f, one, 4096), 'a');
    f.calls.close(f.calls.user, one);
    end(&f);
}

/* Over many seeds every fate of a page is seen; what was synced is never touched. */
static void a_page_has_every_fate(void **state) {
    (void)state;
    bool kept = false, dropped = false, torn = false, garbage = false;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct fixture f;
        begin(&f, seed);
        settle(&f);
        struct disk_file *one = file(&f, false);
        assert_true(put(&f, one, 4096, 'b', 4096));
        f.calls.close(f.calls.user, one);
        power(&f, SIM_POWER_CHOOSE);
        one = file(&f, false);
        unsigned a = 0, b = 0;
        for (unsigned s = 0; s < 8; s++) {
            a += get(&f, one, 4096 + s * 512) == 'a' ? 1 : 0;
            b += get(&f, one, 4096 + s * 512) == 'b' ? 1 : 0;
        }
        kept = kept || b == 8;
        dropped = dropped || a == 8;
        torn = torn || (a > 0 && b > 0 && a + b == 8);
        garbage = garbage || a + b < 8;
        assert_int_equal(get(&f, one, 0), 'a');
        assert_int_equal(get(&f, one, 4095), 'a');
        f.calls.close(f.calls.user, one);
        end(&f);
    }
    assert_true(kept && dropped && torn && garbage);
}

static void a_name_is_durable_with_its_directory(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    struct disk_file *one = file(&f, true);
    assert_true(put(&f, one, 0, 'a', 512));
    assert_true(f.calls.sync(f.calls.user, one, &f.error));
    f.calls.close(f.calls.user, one);
    power(&f, SIM_POWER_DROP);
    assert_null(file(&f, false));
    settle(&f);
    assert_true(f.calls.remove(f.calls.user, "one", &f.error));
    assert_null(file(&f, false));
    power(&f, SIM_POWER_DROP);
    one = file(&f, false);
    assert_non_null(one);
    assert_int_equal(get(&f, one, 8191), 'a');
    f.calls.close(f.calls.user, one);
    end(&f);
}

static void a_failed_sync_forgets(void **state) {
    (void)state;
    bool lost = false;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture f;
        begin(&f, seed);
        settle(&f);
        struct disk_file *one = file(&f, false);
        assert_true(put(&f, one, 0, 'b', 4096));
        f.disk.fail_at = f.disk.calls + 1;
        assert_false(f.calls.sync(f.calls.user, one, &f.error));
        assert_int_equal(f.error.kind, ERROR_IO);
        assert_int_equal(get(&f, one, 0), 'b');
        assert_true(f.calls.sync(f.calls.user, one, &f.error)); /* and saves nothing */
        f.calls.close(f.calls.user, one);
        power(&f, SIM_POWER_DROP);
        one = file(&f, false);
        lost = lost || get(&f, one, 0) == 'a';
        f.calls.close(f.calls.user, one);
        end(&f);
    }
    assert_true(lost);
}

static void a_full_disk_takes_no_new_space(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    settle(&f);
    f.disk.no_space = true;
    struct disk_file *one = file(&f, false);
    assert_true(put(&f, one, 0, 'b', 8192));
    assert_false(put(&f, one, 8192, 'b', 1));
    assert_int_equal(f.error.kind, ERROR_NO_SPACE);
    assert_null(f.calls.open(f.calls.user, "two", true, &f.error));
    assert_int_equal(f.error.kind, ERROR_NO_SPACE);
    f.calls.close(f.calls.user, one);
    end(&f);
}

static void the_power_goes_at_a_call(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    settle(&f);
    struct disk_file *one = file(&f, false);
    f.disk.crash_at = f.disk.calls + 2;
    assert_true(put(&f, one, 0, 'b', 4096));
    assert_false(f.calls.sync(f.calls.user, one, &f.error));
    assert_int_equal(f.error.kind, ERROR_CRASHED);
    assert_false(put(&f, one, 0, 'c', 4096));
    assert_int_equal(f.error.kind, ERROR_CRASHED);
    f.calls.close(f.calls.user, one);
    end(&f);
}

static void a_copy_is_apart(void **state) {
    (void)state;
    struct fixture f;
    begin(&f, 1);
    settle(&f);
    struct disk_file *one = file(&f, false);
    assert_true(put(&f, one, 0, 'b', 512));
    struct fixture g = {0};
    choices_start(&g.choices, 1, NULL, 0, false);
    sim_disk_copy(&g.disk, &f.disk, &g.choices);
    g.calls = sim_disk_interface(&g.disk);
    assert_true(sim_disk_digest(&g.disk) == sim_disk_digest(&f.disk));
    power(&g, SIM_POWER_DROP);
    assert_true(sim_disk_digest(&g.disk) != sim_disk_digest(&f.disk));
    assert_int_equal(get(&f, one, 0), 'b');
    f.calls.close(f.calls.user, one);
    struct disk_file *other = file(&g, false);
    assert_int_equal(get(&g, other, 0), 'a');
    g.calls.close(g.calls.user, other);
    end(&f);
    end(&g);
}

/* A cut is as durable as a write: not at all before the sync; then what was behind it is gone for good. */
static void a_cut_needs_a_sync(void **state) {
    (void)state;
    unsigned seen[2] = {0, 0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct fixture f;
        uint64_t bytes = 0;
        begin(&f, seed);
        settle(&f);
        struct disk_file *one = file(&f, false);
        assert_true(f.calls.cut(f.calls.user, one, 4096, &f.error));
        assert_true(f.calls.size(f.calls.user, one, &bytes, &f.error));
        assert_int_equal(bytes, 4096);
        if (seed % 2 == 0) {
            assert_true(f.calls.sync(f.calls.user, one, &f.error));
        }
        f.calls.close(f.calls.user, one);
        power(&f, SIM_POWER_CHOOSE);
        one = file(&f, false);
        assert_true(f.calls.size(f.calls.user, one, &bytes, &f.error));
        assert_int_equal(get(&f, one, 4095), 'a');
        assert_true(bytes == 4096 || (seed % 2 == 1 && bytes == 8192));
        seen[bytes / 4096 - 1]++;
        assert_true(put(&f, one, 8191, 'b', 1));
        assert_true(bytes == 8192 || get(&f, one, 4096) == '\0');
        assert_true(f.calls.sync(f.calls.user, one, &f.error));
        f.calls.close(f.calls.user, one);
        power(&f, SIM_POWER_DROP);
        one = file(&f, false);
        assert_int_equal(get(&f, one, 4096), bytes == 8192 ? 'a' : '\0');
        assert_int_equal(get(&f, one, 8191), 'b');
        f.calls.close(f.calls.user, one);
        end(&f);
    }
    assert_true(seen[0] > 20 && seen[1] > 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_synced_is_dropped),
        cmocka_unit_test(a_page_has_every_fate),
        cmocka_unit_test(a_name_is_durable_with_its_directory),
        cmocka_unit_test(a_failed_sync_forgets),
        cmocka_unit_test(a_full_disk_takes_no_new_space),
        cmocka_unit_test(the_power_goes_at_a_call),
        cmocka_unit_test(a_copy_is_apart),
        cmocka_unit_test(a_cut_needs_a_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
