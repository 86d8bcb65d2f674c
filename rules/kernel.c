/* The compiled step: every atom of every request, a token at a time, on integer codes.

   What it must return is defined by reference.py. A slot is a request. Its state is one block of memory: a head, a flag an atom, and the running values of
   the one scope that it is in, since a change of scope resets them all.

   Nothing here is allocated while tokens are taken, but for the list of events when more of them come than ever
   before. Callers pass arrays whose lengths they have checked. */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define SCOPES 256
#define UNSCORED INT16_MIN
#define NO_SCOPE (-1)
#define FIELDS 11
#define MOST_TOKENS 4096 /* of a window, as atoms.py has it */

enum { ONCE, FOR, AVERAGE, AVERAGE_SCOPE, AT_LEAST, AVERAGE_LAST, SHAPES };

/* In the order in which Python passes them. n and k are 1 where they mean nothing. */
typedef struct { int32_t column, scope, direction, shape, n, threshold, k; } Atom;

/* Atoms of one scope and shape, as columns. lane: whose codes; limit: what the signed code, or the signed sum of
   n codes, must exceed; at, mask, stride: where the lane's ring is. */
typedef struct { int32_t count, *lane, *n, *k, *limit, *id, *at, *mask, *stride; } Terms;

/* The atoms of one scope. A lane is a column with a sign: atoms that look at the same codes from the same side share
   it. A ring holds a lane's running sum after each of its latest rows; its size is a power of two. Rings of one size stand
   row by row, so that a token reads few lines of memory.
   The offsets are into the running values of a slot, all of them of int32 but `total` and `bits`, which are of 64 bits;
   bits: which of the last tokens were over, the latest lowest. */
typedef struct {
    int32_t lanes, *column, *sign;
    Terms terms[SHAPES], rings; /* of `rings`, lane, at and mask are used */
    size_t total, bits, lost, since, prefix, run, low, ring, size;
} Group;

/* rows: of this scope, without those that never came. */
typedef struct {
    int64_t pos, scope_from, first_row, rows;
    int32_t scope;
} Head;

typedef struct {
    int32_t atoms, columns; /* columns: that codes must have at least */
    Atom *atom;
    Group *groups[SCOPES];
    size_t live, state, stride; /* of a slot's block: flags an atom, running values, the whole */
    uint8_t *slots;
    int64_t n_slots;
    int64_t (*events)[FIELDS];
    int64_t n_events, most_events;
    int32_t *x, *y; /* signed codes of the current row by lane: INT32_MIN, and 0, where there is none */
} Kernel;

static size_t aligned(size_t bytes) { return (bytes + 7) & ~(size_t)7; }

static Head *head_of(const Kernel *k, int64_t slot) { return (Head *)(k->slots + slot * k->stride); }

static void free_group(Group *g)
{
    if (!g) return;
    for (int shape = 0; shape < SHAPES; shape++) free(g->terms[shape].lane);
    free(g->rings.lane), free(g->column), free(g);
}

/* Room for `count` terms, in one piece that begins at `lane`. */
static int reserve(Terms *t, int32_t count)
{
    int32_t *all = calloc(8 * (size_t)count + 1, sizeof *all);
    if (!all) return 0;
    t->lane = all, t->n = all + count, t->limit = all + 2 * count, t->id = all + 3 * count;
    t->at = all + 4 * count, t->mask = all + 5 * count, t->stride = all + 6 * count, t->k = all + 7 * count;
    return 1;
}

static int lane_of(Group *g, const Atom *a)
{
    int i = 0;
    while (i < g->lanes && (g->column[i] != a->column || g->sign[i] != a->direction)) i++;
    if (i == g->lanes) g->column[i] = a->column, g->sign[i] = a->direction, g->lanes++;
    return i;
}

static const int WINDOWED[] = {AVERAGE, AT_LEAST, AVERAGE_LAST};

/* The smallest power of two that holds every window of a lane; 0 without one. At a scope's end the last row is in the
   ring already, and one more is needed. */
static int32_t ring_of(const Group *g, int32_t lane)
{
    int32_t size = 0;
    for (int w = 0; w < 3; w++) {
        const Terms *t = &g->terms[WINDOWED[w]];
        const int32_t more = WINDOWED[w] == AVERAGE_LAST;
        for (int32_t i = 0; i < t->count; i++)
            while (t->lane[i] == lane && size < t->n[i] + more) size = size ? 2 * size : 1;
    }
    return size;
}

/* The rings of a size, from cell `at` on; returns how many cells they take. */
static int32_t place_rings(Group *g, int32_t size, int32_t at)
{
    Terms *rings = &g->rings;
    const int32_t first = rings->count;
    for (int32_t lane = 0; lane < g->lanes; lane++)
        if (ring_of(g, lane) == size) rings->lane[rings->count++] = lane;
    const int32_t count = rings->count - first;
    for (int32_t r = first; r < rings->count; r++) {
        rings->at[r] = at + r - first, rings->mask[r] = size - 1, rings->stride[r] = count;
        for (int w = 0; w < 3; w++) {
            Terms *t = &g->terms[WINDOWED[w]];
            for (int32_t i = 0; i < t->count; i++)
                if (t->lane[i] == rings->lane[r]) t->at[i] = rings->at[r], t->mask[i] = size - 1, t->stride[i] = count;
        }
    }
    return count * size;
}

/* The atoms of a scope, of which there are some; NULL without memory. */
static Group *group_of(const Atom *atoms, int32_t n, int32_t scope, int32_t count)
{
    Group *g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->column = calloc(2 * (size_t)count, sizeof *g->column);
    int whole = g->column && reserve(&g->rings, count);
    for (int shape = 0; shape < SHAPES; shape++) whole = whole && reserve(&g->terms[shape], count);
    if (!whole) return free_group(g), NULL;
    g->sign = g->column + count;
    for (int32_t i = 0; i < n; i++) {
        const Atom *a = atoms + i;
        if (a->scope != scope) continue;
        Terms *t = &g->terms[a->shape];
        t->lane[t->count] = lane_of(g, a), t->n[t->count] = a->n, t->k[t->count] = a->k,
        t->id[t->count] = i;
        t->limit[t->count++] = a->threshold * a->direction * (a->shape == AVERAGE ? a->n : 1);
    }
    int32_t cells = 0;
    for (int32_t size = 1; size <= 2 * MOST_TOKENS; size *= 2) cells += place_rings(g, size, cells);
    size_t end = 0;
    g->total = end, end += g->lanes * sizeof(int64_t);
    g->bits = end, end += g->terms[AT_LEAST].count * sizeof(uint64_t);
    g->lost = end, end += g->lanes * sizeof(int32_t);
    g->since = end, end += g->lanes * sizeof(int32_t);
    g->prefix = end, end += g->lanes * sizeof(int32_t);
    g->run = end, end += g->terms[FOR].count * sizeof(int32_t);
    g->low = end, end += g->terms[FOR].count * sizeof(int32_t);
    g->ring = end, end += cells * sizeof(int32_t);
    g->size = aligned(end);
    return g;
}

EXPORT void kernel_free(Kernel *k)
{
    if (!k) return;
    for (int i = 0; i < SCOPES; i++) free_group(k->groups[i]);
    free(k->slots), free(k->events), free(k->x), free(k->y), free(k->atom), free(k);
}

/* A kernel without slots; NULL without memory. */
EXPORT Kernel *kernel_new(const Atom *atoms, int32_t n)
{
    Kernel *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->atoms = n;
    k->atom = calloc(n + 1, sizeof *k->atom);
    k->x = calloc(n + 1, sizeof *k->x);
    k->y = calloc(n + 1, sizeof *k->y);
    if (!k->atom || !k->x || !k->y) return kernel_free(k), NULL;
    memcpy(k->atom, atoms, n * sizeof *atoms);
    for (int32_t i = 0; i < n; i++)
        if (atoms[i].column >= k->columns) k->columns = atoms[i].column + 1;
    size_t most = 0;
    for (int32_t scope = 0; scope < SCOPES; scope++) {
        int32_t count = 0;
        for (int32_t i = 0; i < n; i++) count += atoms[i].scope == scope;
        if (!count) continue;
        Group *g = k->groups[scope] = group_of(atoms, n, scope, count);
        if (!g) return kernel_free(k), NULL;
        if (g->size > most) most = g->size;
    }
    k->live = aligned(sizeof(Head));
    k->state = k->live + aligned(n);
    k->stride = k->state + most;
    return k;
}

/* Bytes of state a slot. */
EXPORT int64_t kernel_stride(const Kernel *k) { return (int64_t)k->stride; }

/* 0, or -1 without memory; what is there stays. */
EXPORT int kernel_grow(Kernel *k, int64_t slots)
{
    uint8_t *grown = realloc(k->slots, slots * k->stride);
    if (!grown) return -1;
    k->slots = grown, k->n_slots = slots;
    return 0;
}

EXPORT void kernel_open(Kernel *k, int64_t slot)
{
    *head_of(k, slot) = (Head){0, 0, 0, 0, NO_SCOPE};
    memset(k->slots + slot * k->stride + k->live, 1, k->atoms);
}

/* The atom fires once a slot. value: signed as the lane is. Returns 0 without memory. */
static int event(Kernel *k, uint8_t *block, int32_t id, int64_t order, int64_t position, int ended, int64_t start,
                 int64_t end, int64_t value, int64_t count, int64_t scored)
{
    if (!block[k->live + id]) return 1;
    if (k->n_events == k->most_events) {
        int64_t most = k->most_events ? 2 * k->most_events : 64;
        void *grown = realloc(k->events, most * sizeof *k->events);
        if (!grown) return 0;
        k->events = grown, k->most_events = most;
    }
    const int64_t slot = (block - k->slots) / k->stride;
    const int64_t unscored = end - ((const Head *)block)->scope_from - scored;
    value *= k->atom[id].direction;
    const int64_t fields[FIELDS] = {order, position, ended, id, slot, start, end, value, count, scored, unscored};
    memcpy(k->events[k->n_events++], fields, sizeof fields);
    block[k->live + id] = 0;
    return 1;
}

/* The lane's running sum after the row `back` rows before `row`, the one that is next or is being taken. */
static inline uint32_t before(const int32_t *ring, const Terms *t, int32_t i, int32_t row, int32_t back)
{
    return (uint32_t)ring[t->at[i] + ((row - back) & t->mask[i]) * t->stride[i]];
}

/* The k-th largest of the last n codes of a lane, of which the running sum after the current row is `sum`. */
static int32_t kth_largest(const int32_t *ring, const Terms *t, int32_t i, int32_t row, uint32_t sum, int32_t n)
{
    int32_t sorted[64];
    for (int32_t j = 0; j < n; j++) {
        const uint32_t earlier = before(ring, t, i, row, j + 1);
        const int32_t code = (int32_t)(sum - earlier);
        int32_t at = j;
        for (; at && sorted[at - 1] < code; at--) sorted[at] = sorted[at - 1];
        sorted[at] = code, sum = earlier;
    }
    return sorted[t->k[i] - 1];
}

/* Decides what waits for the end of the scope. */
static int end_scope(Kernel *k, uint8_t *block, int64_t order)
{
    const Head *h = (const Head *)block;
    const Group *g = h->scope == NO_SCOPE ? NULL : k->groups[h->scope];
    if (!g) return 1;
    const uint8_t *state = block + k->state;
    const int64_t *total = (const int64_t *)(state + g->total);
    const int32_t *lost = (const int32_t *)(state + g->lost);
    const Terms *t = &g->terms[AVERAGE_SCOPE];
    for (int32_t i = 0; i < t->count; i++) {
        const int32_t lane = t->lane[i];
        const int64_t scored = h->rows - lost[lane];
        if (scored > 0 && total[lane] > t->limit[i] * scored)
            if (!event(k, block, t->id[i], order, h->pos - 1, 1, h->first_row, h->pos, total[lane], scored, scored))
                return 0;
    }
    t = &g->terms[AVERAGE_LAST];
    const int32_t *since = (const int32_t *)(state + g->since), *prefix = (const int32_t *)(state + g->prefix);
    const int32_t *ring = (const int32_t *)(state + g->ring);
    for (int32_t i = 0; i < t->count; i++) {
        const int32_t lane = t->lane[i], rows = (int32_t)h->rows, n = rows < t->n[i] ? rows : t->n[i];
        /* The ring holds the sum after the last row too, so the one before its n is n + 1 back; none, if they are all. */
        const uint32_t earlier = n == rows ? 0 : before(ring, t, i, rows, n + 1);
        const int64_t sum = (int32_t)((uint32_t)prefix[lane] - earlier);
        if (n && since[lane] >= n && sum > (int64_t)t->limit[i] * n)
            if (!event(k, block, t->id[i], order, h->pos - 1, 1, h->pos - n, h->pos, sum, n, h->rows - lost[lane]))
                return 0;
    }
    return 1;
}

/* Rows of the scope that the slot is in. Loops say only whether some atom is true: which one, is asked rarely. */
static int tokens(Kernel *k, const Group *g, uint8_t *block, int64_t order, const int16_t *codes, int64_t columns,
                  int64_t left)
{
    Head *h = (Head *)block;
    uint8_t *state = block + k->state;
    int64_t *restrict total = (int64_t *)(state + g->total);
    int32_t *restrict lost = (int32_t *)(state + g->lost), *restrict since = (int32_t *)(state + g->since);
    int32_t *restrict prefix = (int32_t *)(state + g->prefix), *restrict ring = (int32_t *)(state + g->ring);
    int32_t *restrict run = (int32_t *)(state + g->run), *restrict low = (int32_t *)(state + g->low);
    uint64_t *restrict bits = (uint64_t *)(state + g->bits);
    int32_t *restrict x = k->x, *restrict y = k->y;
    const int32_t lanes = g->lanes;
    const Terms *t;

    for (; left; left--, codes += columns, h->pos++, h->rows++) {
        const int64_t pos = h->pos;
        const int32_t row = (int32_t)h->rows;
        int32_t any = 0;
        for (int32_t i = 0; i < lanes; i++) {
            const int32_t code = codes[g->column[i]], bad = code == UNSCORED;
            any |= bad;
            y[i] = bad ? 0 : code * g->sign[i];
            x[i] = bad ? INT32_MIN : y[i];
        }
        for (int32_t i = 0; i < lanes; i++) since[i]++;
        for (int32_t i = 0; i < lanes; i++) prefix[i] = (int32_t)((uint32_t)prefix[i] + (uint32_t)y[i]);
        for (int32_t i = 0; i < lanes; i++) total[i] += y[i];
        if (any)
            for (int32_t i = 0; i < lanes; i++)
                if (x[i] == INT32_MIN) since[i] = 0, lost[i]++;

        any = 0, t = &g->terms[ONCE];
        for (int32_t i = 0; i < t->count; i++) any |= x[t->lane[i]] > t->limit[i];
        if (any)
            for (int32_t i = 0; i < t->count; i++)
                if (x[t->lane[i]] > t->limit[i])
                    if (!event(k, block, t->id[i], order, pos, 0, pos, pos + 1, x[t->lane[i]], 1,
                               row + 1 - lost[t->lane[i]])) return 0;

        any = 0, t = &g->terms[FOR];
        for (int32_t i = 0; i < t->count; i++) {
            const int32_t v = x[t->lane[i]], hit = v > t->limit[i];
            low[i] = run[i] && low[i] < v ? low[i] : v;
            run[i] = hit ? run[i] + 1 : 0;
            any |= run[i] >= t->n[i];
        }
        if (any)
            for (int32_t i = 0; i < t->count; i++)
                if (run[i] >= t->n[i])
                    if (!event(k, block, t->id[i], order, pos, 0, pos - t->n[i] + 1, pos + 1, low[i], 1,
                               row + 1 - lost[t->lane[i]])) return 0;

        any = 0, t = &g->terms[AVERAGE];
        for (int32_t i = 0; i < t->count; i++) {
            const int32_t sum = (int32_t)((uint32_t)prefix[t->lane[i]] - before(ring, t, i, row, t->n[i]));
            any |= (sum > t->limit[i]) & (since[t->lane[i]] >= t->n[i]);
        }
        if (any)
            for (int32_t i = 0; i < t->count; i++) {
                const int32_t sum = (int32_t)((uint32_t)prefix[t->lane[i]] - before(ring, t, i, row, t->n[i]));
                if (sum > t->limit[i] && since[t->lane[i]] >= t->n[i])
                    if (!event(k, block, t->id[i], order, pos, 0, pos - t->n[i] + 1, pos + 1, sum, t->n[i],
                               row + 1 - lost[t->lane[i]])) return 0;
            }
        any = 0, t = &g->terms[AT_LEAST];
        for (int32_t i = 0; i < t->count; i++) {
            const int32_t v = x[t->lane[i]];
            const uint64_t window = ~(uint64_t)0 >> (64 - t->n[i]);
            bits[i] = v == INT32_MIN ? 0 : ((bits[i] << 1) | (v > t->limit[i])) & window;
            any |= __builtin_popcountll(bits[i]) >= t->k[i];
        }
        if (any)
            for (int32_t i = 0; i < t->count; i++) {
                if (__builtin_popcountll(bits[i]) < t->k[i] || !block[k->live + t->id[i]]) continue;
                const int32_t lane = t->lane[i], n = since[lane] < t->n[i] ? since[lane] : t->n[i];
                const int32_t code = kth_largest(ring, t, i, row, (uint32_t)prefix[lane], n);
                if (!event(k, block, t->id[i], order, pos, 0, pos - n + 1, pos + 1, code, 1, row + 1 - lost[lane]))
                    return 0;
            }
        t = &g->rings;
        for (int32_t i = 0; i < t->count; i++) ring[t->at[i] + (row & t->mask[i]) * t->stride[i]] = prefix[t->lane[i]];
    }
    return 1;
}

/* Takes n segments in frame order: their slots, scopes, first positions, rows, and first rows in codes [T, columns],
   one array after the other. Positions before the one that a slot expects are ignored.
   Returns how many events there are; -1 without memory, -2 and nothing done for a segment that does not fit. */
EXPORT int64_t kernel_step(Kernel *k, int64_t n, const int64_t *segments, const int16_t *codes, int64_t length,
                           int64_t columns)
{
    const int64_t *slot = segments, *scope = slot + n, *start = scope + n, *rows = start + n, *row = rows + n;
    int fit = columns >= k->columns;
    for (int64_t i = 0; i < n; i++)
        fit &= slot[i] >= 0 && slot[i] < k->n_slots && scope[i] >= 0 && scope[i] < SCOPES && start[i] >= 0 &&
               rows[i] >= 0 && rows[i] <= length && row[i] >= 0 && row[i] <= length - rows[i];
    if (!fit) return -2;
    k->n_events = 0;
    for (int64_t i = 0; i < n; i++) {
        uint8_t *block = k->slots + slot[i] * k->stride;
        Head *h = (Head *)block;
        const int64_t skip = h->pos > start[i] ? h->pos - start[i] : 0, left = rows[i] - skip;
        if (left <= 0) continue;
        const int64_t first = start[i] + skip;
        const Group *g = k->groups[scope[i]];
        uint8_t *state = block + k->state;
        if (h->scope != scope[i]) {
            if (!end_scope(k, block, i)) return -1;
            /* A gap before a new scope counts there: nothing else says whose those tokens were. */
            *h = (Head){first, h->pos, first, 0, (int32_t)scope[i]};
            if (g) memset(state, 0, g->size);
        } else if (first > h->pos && g) { /* a position that never came breaks every run and window */
            memset(state + g->since, 0, g->lanes * sizeof(int32_t));
            memset(state + g->run, 0, g->terms[FOR].count * sizeof(int32_t));
            memset(state + g->bits, 0, g->terms[AT_LEAST].count * sizeof(uint64_t));
        }
        h->pos = first;
        if (!g)
            h->pos += left, h->rows += left;
        else if (!tokens(k, g, block, i, codes + (row[i] + skip) * columns, columns, left))
            return -1;
    }
    return k->n_events;
}

/* The slot's request is over. Returns how many events there are, -1 without memory. */
EXPORT int64_t kernel_close(Kernel *k, int64_t slot)
{
    k->n_events = 0;
    return end_scope(k, k->slots + slot * k->stride, 0) ? k->n_events : -1;
}

EXPORT const int64_t *kernel_events(const Kernel *k) { return (const int64_t *)k->events; }

/* KERNEL_VERSION of atoms.py when this was built. */
EXPORT int kernel_version(void) { return 2; }

/* Only so that `import` finds the library that ctypes then opens. */
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&definition); }
