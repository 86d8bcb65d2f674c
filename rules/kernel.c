/* The compiled step: every atom of every request, a token at a time, on integer codes, and the rules over them.

   What it must return is defined by reference.py. A slot is a request. Its state is one block of memory: a head, a flag
   an atom and a rule, and the running values of the one scope that it is in, since a change of scope resets them all. What
   rules of several conditions must remember of earlier ones is a block of its own, made when the first of them is true:
   few requests ever have one.

   A token is cheap where nothing is true. Where some atom is, it is noted in `now`, and `decide` looks at the rules
   that name it. Callers pass arrays whose lengths they have checked. */

#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define SCOPES 256
#define UNSCORED INT16_MIN
#define NO_SCOPE (-1)
#define NEVER (-1)
#define MOST_TOKENS 4096 /* of a window, as atoms.py has it */
#define MOST_CLAUSES 16  /* of a rule */
#define REPLAYED 256     /* rows that are brought together at a time */

enum { ONCE, FOR, AVERAGE, AVERAGE_SCOPE, AT_LEAST, AVERAGE_LAST, SHARE, SHAPES };

/* In the order in which Python passes them. n and k are 1 where they mean nothing. */
typedef struct { int32_t column, scope, direction, shape, n, threshold, k, least, coverage; } Atom;

/* A rule is some clauses, a clause some atoms of which one suffices: `count` of them from `first` on. clear: the atom
   that makes a rule fire again, or NEVER. chains: of a sequence, where its stages are in a slot's memory. */
typedef struct { int32_t sequence, within, clear, first, count; size_t chains; } Rule;
typedef struct { int32_t negated, first, count; } Clause;

/* An atom when it was true; position NEVER: it was not. The order is that of crossing.Met behind its clause. */
typedef struct { int64_t atom, position, start, value, count, scored, unscored; } Met;

/* Atoms of one scope and shape, as columns. lane: whose codes; limit: what the signed code, or the signed sum of
   n codes, must exceed; at, mask, stride: where the lane's ring is. */
typedef struct { int32_t count, *lane, *n, *k, *limit, *id, *at, *mask, *stride; } Terms;

/* The atoms of one scope. A lane is a column with a sign: atoms that look at the same codes from the same side share
   it. A ring holds a lane's running sum after each of its latest rows; its size is a power of two. Rings of one size stand
   row by row, so that a token reads few lines of memory.
   The offsets are into the running values of a slot, all of them of int32 but `total` and `bits`, which are of 64 bits;
   bits: which of the last tokens were over, the latest lowest; over: how many of the scope were. */
typedef struct {
    int32_t lanes, *column, *sign;
    Terms terms[SHAPES], rings; /* of `rings`, lane, at and mask are used */
    size_t total, bits, lost, since, prefix, run, low, over, ring, size;
} Group;

/* rows: of this scope, without those that never came. memory: NULL until an atom is true that must be remembered. */
typedef struct {
    int64_t pos, scope_from, first_row, rows;
    Met *memory;
    int32_t scope;
} Head;

typedef struct {
    int32_t atoms, rules, columns; /* columns: that codes must have at least */
    Atom *atom;
    Rule *rule;
    Clause *clause;
    int32_t *literal;           /* the atoms of the clauses */
    int32_t *watch, *watchers;  /* the rules that name atom a: watchers[watch[a]] up to watchers[watch[a + 1]] */
    int32_t *remember;          /* where an atom is in a slot's memory, or NEVER */
    size_t memory;              /* what a slot remembers, in Met */
    Group *groups[SCOPES];
    size_t live, armed, state, stride; /* of a slot's block: flags an atom, flags a rule, running values, the whole */
    uint8_t *slots;
    int64_t n_slots;
    int64_t *events; /* firings: order, position, ended, rule, slot, conditions, and those: clause and Met */
    int64_t n_events, used, room;
    int brief; /* events are heads alone */
    int32_t *x, *y; /* signed codes of the current row by lane: INT32_MIN, and 0, where there is none */
    Met *now;       /* what is true at this moment; at[atom]: where it stands there, or NEVER */
    int32_t n_now, *at, *asked; /* asked: the rules that are looked at; marked: those among them */
    uint8_t *marked;
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
    g->over = end, end += g->terms[SHARE].count * sizeof(int32_t);
    g->ring = end, end += cells * sizeof(int32_t);
    g->size = aligned(end);
    return g;
}

EXPORT void kernel_free(Kernel *k)
{
    if (!k) return;
    for (int64_t slot = 0; slot < k->n_slots; slot++) free(head_of(k, slot)->memory);
    for (int i = 0; i < SCOPES; i++) free_group(k->groups[i]);
    free(k->slots), free(k->events), free(k->x), free(k->y), free(k->atom), free(k->rule), free(k->clause);
    free(k->literal), free(k->watch), free(k->watchers), free(k->remember), free(k->now), free(k->at), free(k->asked);
    free(k->marked);
    free(k);
}

/* Which rules name which atoms; a rule that names one twice watches it once. */
static void watch_atoms(Kernel *k)
{
    int32_t n = 0;
    for (int32_t a = 0; a < k->atoms; a++) {
        k->watch[a] = n;
        for (int32_t i = 0; i < k->rules; i++) {
            const Rule *r = k->rule + i;
            const Clause *last = k->clause + r->first + r->count - 1;
            int named = r->clear == a;
            for (int32_t j = k->clause[r->first].first; j < last->first + last->count; j++) named |= k->literal[j] == a;
            if (named) k->watchers[n++] = i;
        }
    }
    k->watch[k->atoms] = n;
}

/* Rules from `words`: for each whether it is a sequence, within, clear and how many clauses; for each of those whether it
   is negated, how many atoms, and which. Returns 0 without memory. */
static int read_rules(Kernel *k, const int32_t *words, int32_t rules, int32_t clauses, int32_t literals)
{
    k->rules = rules;
    k->rule = calloc(rules + 1, sizeof *k->rule);
    k->clause = calloc(clauses + 1, sizeof *k->clause);
    k->literal = calloc(literals + 1, sizeof *k->literal);
    k->watch = calloc(k->atoms + 2, sizeof *k->watch);
    k->watchers = calloc(literals + rules + 1, sizeof *k->watchers);
    k->remember = calloc(k->atoms + 1, sizeof *k->remember);
    k->now = calloc(k->atoms + 1, sizeof *k->now);
    k->at = calloc(k->atoms + 1, sizeof *k->at);
    k->asked = calloc(rules + 1, sizeof *k->asked);
    k->marked = calloc(rules + 1, sizeof *k->marked);
    if (!k->rule || !k->clause || !k->literal || !k->watch || !k->watchers || !k->remember || !k->now || !k->at ||
        !k->asked || !k->marked)
        return 0;
    for (int32_t i = 0; i < k->atoms; i++) k->remember[i] = k->at[i] = NEVER;
    Clause *c = k->clause;
    int32_t l = 0;
    for (Rule *r = k->rule; r < k->rule + rules; r++) {
        r->sequence = *words++, r->within = *words++, r->clear = *words++, r->count = *words++;
        r->first = (int32_t)(c - k->clause);
        for (int32_t i = 0; i < r->count; i++, c++) {
            c->negated = *words++, c->count = *words++, c->first = l;
            for (int32_t j = 0; j < c->count; j++) {
                const int32_t atom = k->literal[l++] = *words++;
                if (r->count > 1 && !r->sequence && k->remember[atom] == NEVER)
                    k->remember[atom] = (int32_t)k->memory++;
            }
        }
        if (r->sequence) /* stage i keeps the i + 1 moments of its chain; the last one fires and keeps none */
            r->chains = k->memory, k->memory += (size_t)r->count * (r->count - 1) / 2;
    }
    watch_atoms(k);
    return 1;
}

/* A kernel without slots; NULL without memory. */
EXPORT Kernel *kernel_new(const Atom *atoms, int32_t n, const int32_t *rules, int32_t n_rules, int32_t clauses,
                          int32_t literals)
{
    Kernel *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->atoms = n;
    k->atom = calloc(n + 1, sizeof *k->atom);
    k->x = calloc(n + 1, sizeof *k->x);
    k->y = calloc(n + 1, sizeof *k->y);
    if (!k->atom || !k->x || !k->y || !read_rules(k, rules, n_rules, clauses, literals)) return kernel_free(k), NULL;
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
    k->armed = k->live + aligned(n);
    k->state = k->armed + aligned(n_rules);
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
    k->slots = grown;
    for (; k->n_slots < slots; k->n_slots++) head_of(k, k->n_slots)->memory = NULL;
    return 0;
}

EXPORT void kernel_open(Kernel *k, int64_t slot)
{
    uint8_t *block = k->slots + slot * k->stride;
    *(Head *)block = (Head){.scope = NO_SCOPE};
    memset(block + k->live, 1, k->atoms);
    memset(block + k->armed, 1, k->rules);
}

/* Notes that an atom is true at this moment. value: signed as the lane is. */
static void note(Kernel *k, const uint8_t *block, int32_t id, int64_t position, int64_t start, int64_t value,
                 int64_t count, int64_t scored)
{
    if (!block[k->live + id]) return;
    const int64_t unscored = position + 1 - ((const Head *)block)->scope_from - scored;
    k->at[id] = k->n_now;
    k->now[k->n_now++] =
        (Met){id, position, start, value * k->atom[id].direction, count, scored, unscored};
}

/* The first condition of a clause that is true now, or NULL. */
static const Met *true_now(const Kernel *k, const Clause *c)
{
    for (int32_t i = c->first; i < c->first + c->count; i++)
        if (k->at[k->literal[i]] != NEVER) return k->now + k->at[k->literal[i]];
    return NULL;
}

static int near(const Rule *r, int64_t position, int64_t earlier)
{
    return !r->within || position - earlier < r->within;
}

/* The latest time a condition of a clause was true, if that is near; the first of them where two are. */
static const Met *true_before(const Kernel *k, const Rule *r, const Clause *c, const Met *memory, int64_t position)
{
    const Met *found = NULL;
    for (int32_t i = c->first; memory && i < c->first + c->count; i++) {
        const Met *met = memory + k->remember[k->literal[i]];
        if (met->position == NEVER || !near(r, position, met->position)) continue;
        if (!found || met->position > found->position) found = met;
    }
    return found;
}

/* Each clause of a rule with what made it true, of which some is true now; 0 where one is not as it must be. */
static int all_met(const Kernel *k, const Rule *r, const Met *memory, int64_t position, const Met **met)
{
    int fresh = 0;
    for (int32_t i = 0; i < r->count; i++) {
        const Clause *c = k->clause + r->first + i;
        met[i] = true_now(k, c);
        fresh |= met[i] && !c->negated;
        if (!met[i] && r->count > 1) met[i] = true_before(k, r, c, memory, position);
        if (!met[i] != c->negated) return 0;
    }
    return fresh;
}

/* Takes what is true now into the chains of a sequence, last stage first, so that no moment serves two of them; 1 where
   the whole of it has come. */
static int sequence_met(const Kernel *k, const Rule *r, Met *memory, Met *copy, const Met **met)
{
    int whole = 0;
    for (int32_t stage = r->count - 1; stage >= 0; stage--) {
        const Met *now = true_now(k, k->clause + r->first + stage);
        Met *chain = memory + r->chains + (size_t)stage * (stage + 1) / 2, *before = chain - stage;
        if (!now || (stage && before->position == NEVER)) continue;
        if (stage < r->count - 1) {
            memcpy(chain, before, stage * sizeof *chain);
            chain[stage] = *now;
        } else if (near(r, now->position, before->position)) {
            memcpy(copy, before, stage * sizeof *copy); /* the stages before are still to be taken */
            for (int32_t i = 0; i < stage; i++) met[i] = copy + i;
            met[stage] = now, whole = 1;
        }
    }
    return whole;
}

/* Room for n more words of events; 0 without memory. */
static int make_room(Kernel *k, int64_t n)
{
    if (k->used + n <= k->room) return 1;
    const int64_t room = 2 * k->room + n;
    void *grown = realloc(k->events, room * sizeof *k->events);
    if (!grown) return 0;
    k->events = grown, k->room = room;
    return 1;
}

static int fire(Kernel *k, const uint8_t *block, int32_t rule, int64_t order, int64_t position, int ended,
                const Met *const *met)
{
    const Rule *r = k->rule + rule;
    const int64_t slot = (block - k->slots) / k->stride, words = 1 + sizeof(Met) / sizeof(int64_t);
    if (!make_room(k, 6 + r->count * words)) return 0;
    int64_t *out = k->events + k->used, conditions = 0;
    for (int32_t i = 0; i < r->count; i++) {
        if (!met[i] || k->brief) continue; /* it is negated, or nobody asks */
        out[6 + words * conditions] = i;
        memcpy(out + 7 + words * conditions++, met[i], sizeof(Met));
    }
    const int64_t head[6] = {order, position, ended, rule, slot, conditions};
    memcpy(out, head, sizeof head);
    k->used += 6 + words * conditions, k->n_events++;
    return 1;
}

/* A rule that never fires again needs its atoms no more; an atom that no rule needs is not noted again. */
static void retire(const Kernel *k, uint8_t *block, int32_t rule)
{
    const Rule *r = k->rule + rule;
    const Clause *last = k->clause + r->first + r->count - 1;
    for (int32_t i = k->clause[r->first].first; i < last->first + last->count; i++) {
        const int32_t atom = k->literal[i];
        int needed = 0;
        for (int32_t w = k->watch[atom]; w < k->watch[atom + 1]; w++)
            needed |= block[k->armed + k->watchers[w]] || k->rule[k->watchers[w]].clear != NEVER;
        block[k->live + atom] = (uint8_t)needed;
    }
}

/* A slot's memory, made where there is none; NULL without memory. */
static Met *memory_of(const Kernel *k, Head *h)
{
    if (h->memory) return h->memory;
    h->memory = malloc(k->memory * sizeof *h->memory);
    if (h->memory)
        for (size_t i = 0; i < k->memory; i++) h->memory[i].position = NEVER;
    return h->memory;
}

/* Looks at every rule that names an atom of `now`, and forgets `now`. Returns 0 without memory. */
static int decide(Kernel *k, uint8_t *block, int64_t order, int ended)
{
    Head *h = (Head *)block;
    const int64_t position = k->now[0].position;
    const Met *met[MOST_CLAUSES];
    Met copy[MOST_CLAUSES];
    int32_t asked = 0;
    int whole = 1;
    for (int32_t i = 0; i < k->n_now; i++) {
        const int32_t atom = (int32_t)k->now[i].atom;
        for (int32_t w = k->watch[atom]; w < k->watch[atom + 1]; w++) {
            const int32_t rule = k->watchers[w];
            const int over = !block[k->armed + rule] && k->rule[rule].clear == NEVER;
            if (!over && !k->marked[rule]) k->marked[rule] = 1, k->asked[asked++] = rule;
        }
        if (k->remember[atom] == NEVER) continue;
        if (!memory_of(k, h)) whole = 0;
        else h->memory[k->remember[atom]] = k->now[i];
    }
    for (int32_t i = 0; i < asked; i++) {
        const int32_t rule = k->asked[i];
        k->marked[rule] = 0;
        if (!whole) continue;
        const Rule *r = k->rule + rule;
        uint8_t *armed = block + k->armed + rule;
        int fires = 0;
        if (r->sequence) whole = memory_of(k, h) != NULL, fires = whole && sequence_met(k, r, h->memory, copy, met);
        else fires = all_met(k, r, h->memory, position, met);
        if (!*armed) {
            *armed = k->at[r->clear] != NEVER && !fires;
        } else if (fires) {
            whole = fire(k, block, rule, order, position, ended, met);
            *armed = 0;
            if (r->clear == NEVER) retire(k, block, rule);
        }
    }
    for (int32_t i = 0; i < k->n_now; i++) k->at[k->now[i].atom] = NEVER;
    k->n_now = 0;
    return whole;
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

/* Whether a shape of the whole scope may be decided on what was scored of it. */
static int enough(const Atom *a, const Head *h, int64_t scored)
{
    return scored > 0 && scored >= a->least && 100 * scored >= a->coverage * (h->pos - h->scope_from);
}

/* Decides what waits for the end of the scope. Returns 0 without memory. */
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
        if (enough(k->atom + t->id[i], h, scored) && total[lane] > t->limit[i] * scored)
            note(k, block, t->id[i], h->pos - 1, h->first_row, total[lane], scored, scored);
    }
    t = &g->terms[SHARE];
    const int32_t *over = (const int32_t *)(state + g->over);
    for (int32_t i = 0; i < t->count; i++) {
        const int64_t scored = h->rows - lost[t->lane[i]];
        const Atom *a = k->atom + t->id[i];
        if (enough(a, h, scored) && 100 * (int64_t)over[i] >= a->k * scored)
            note(k, block, t->id[i], h->pos - 1, h->first_row, over[i] * a->direction, scored, scored);
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
            note(k, block, t->id[i], h->pos - 1, h->pos - n, sum, n, h->rows - lost[lane]);
    }
    return !k->n_now || decide(k, block, order, 1);
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
    int32_t *restrict over = (int32_t *)(state + g->over);
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
                    note(k, block, t->id[i], pos, pos, x[t->lane[i]], 1, row + 1 - lost[t->lane[i]]);

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
                    note(k, block, t->id[i], pos, pos - run[i] + 1, low[i], 1, row + 1 - lost[t->lane[i]]);

        any = 0, t = &g->terms[AVERAGE];
        for (int32_t i = 0; i < t->count; i++) {
            const int32_t sum = (int32_t)((uint32_t)prefix[t->lane[i]] - before(ring, t, i, row, t->n[i]));
            any |= (sum > t->limit[i]) & (since[t->lane[i]] >= t->n[i]);
        }
        if (any)
            for (int32_t i = 0; i < t->count; i++) {
                const int32_t sum = (int32_t)((uint32_t)prefix[t->lane[i]] - before(ring, t, i, row, t->n[i]));
                if (sum > t->limit[i] && since[t->lane[i]] >= t->n[i])
                    note(k, block, t->id[i], pos, pos - t->n[i] + 1, sum, t->n[i], row + 1 - lost[t->lane[i]]);
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
                note(k, block, t->id[i], pos, pos - n + 1, code, 1, row + 1 - lost[lane]);
            }
        t = &g->terms[SHARE];
        for (int32_t i = 0; i < t->count; i++) over[i] += x[t->lane[i]] > t->limit[i];
        t = &g->rings;
        for (int32_t i = 0; i < t->count; i++) ring[t->at[i] + (row & t->mask[i]) * t->stride[i]] = prefix[t->lane[i]];
        if (k->n_now && !decide(k, block, order, 0)) return 0;
    }
    return 1;
}

/* Rows of one scope, one position after the other from `start` on. Returns 0 without memory. */
static int segment(Kernel *k, uint8_t *block, int64_t order, int64_t scope, int64_t start, int64_t rows,
                   const int16_t *codes, int64_t columns)
{
    Head *h = (Head *)block;
    const int64_t skip = h->pos > start ? h->pos - start : 0, left = rows - skip;
    if (left <= 0) return 1;
    const int64_t first = start + skip;
    const Group *g = k->groups[scope];
    uint8_t *state = block + k->state;
    if (h->scope != scope) {
        if (!end_scope(k, block, order)) return 0;
        /* A gap before a new scope counts there: nothing else says whose those tokens were. */
        *h = (Head){first, h->pos, first, 0, h->memory, (int32_t)scope};
        if (g) memset(state, 0, g->size);
    } else if (first > h->pos && g) { /* a position that never came breaks every run and window */
        memset(state + g->since, 0, g->lanes * sizeof(int32_t));
        memset(state + g->run, 0, g->terms[FOR].count * sizeof(int32_t));
        memset(state + g->bits, 0, g->terms[AT_LEAST].count * sizeof(uint64_t));
    }
    h->pos = first;
    if (g) return tokens(k, g, block, order, codes + skip * columns, columns, left);
    h->pos += left, h->rows += left;
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
    k->n_events = k->used = 0;
    for (int64_t i = 0; i < n; i++)
        if (!segment(k, k->slots + slot[i] * k->stride, i, scope[i], start[i], rows[i], codes + row[i] * columns, columns))
            return -1;
    return k->n_events;
}

/* The slot's request is over: decides what waits for that, and forgets what it remembered. */
static int leave(Kernel *k, int64_t slot, int64_t order)
{
    const int whole = end_scope(k, k->slots + slot * k->stride, order);
    free(head_of(k, slot)->memory);
    head_of(k, slot)->memory = NULL;
    return whole;
}

/* The slot's request is over. Returns how many events there are, -1 without memory. */
EXPORT int64_t kernel_close(Kernel *k, int64_t slot)
{
    k->n_events = k->used = 0;
    return leave(k, slot, 0) ? k->n_events : -1;
}

/* Rows `from` up to `to` of the columns that a group reads, as rows of k->columns codes each. */
static void gather(const Kernel *k, const Group *g, const int16_t *const *column, int64_t from, int64_t to, int16_t *rows)
{
    for (int32_t lane = 0; lane < g->lanes; lane++) {
        const int16_t *codes = column[g->column[lane]];
        int16_t *out = rows + g->column[lane];
        for (int64_t row = from; row < to; row++, out += k->columns) *out = codes[row];
    }
}

/* Whole requests, one after the other through one open slot. runs [n, 4]: request, first position, rows, scope, in the
   order of requests; their rows stand behind each other in each column, `length` of them.
   Events are heads alone, their order the request. Returns how many there are; -1 without memory, -2 and nothing done
   for a run that does not fit or a column that is missing. */
EXPORT int64_t kernel_replay(Kernel *k, int64_t slot, int64_t n, const int64_t *runs, int64_t requests,
                             const int16_t *const *column, int64_t length)
{
    int64_t rows = 0, last = 0;
    int fit = slot >= 0 && slot < k->n_slots;
    for (int64_t i = 0; fit && i < n; last = runs[4 * i++]) {
        const int64_t *run = runs + 4 * i;
        fit = run[0] >= last && run[0] < requests && run[1] >= 0 && run[2] >= 0 && run[2] <= length - rows &&
              run[3] >= 0 && run[3] < SCOPES;
        rows += run[2];
    }
    for (int32_t a = 0; a < k->atoms; a++) fit = fit && column[k->atom[a].column];
    if (!fit || rows != length) return -2;
    int16_t *piece = malloc((REPLAYED * (size_t)k->columns + 1) * sizeof *piece);
    if (!piece) return -1;
    uint8_t *block = k->slots + slot * k->stride;
    int whole = 1;
    k->n_events = k->used = 0, k->brief = 1;
    for (int64_t i = 0, row = 0; whole && i < n;) {
        const int64_t request = runs[4 * i];
        kernel_open(k, slot);
        for (; whole && i < n && runs[4 * i] == request; i++) {
            const int64_t *run = runs + 4 * i, end = row + run[2];
            const Group *g = k->groups[run[3]];
            for (int64_t start = run[1]; whole && row < end;) {
                const int64_t count = g && end - row > REPLAYED ? REPLAYED : end - row;
                if (g) gather(k, g, column, row, row + count, piece);
                whole = segment(k, block, request, run[3], start, count, piece, k->columns);
                start += count, row += count;
            }
        }
        whole = leave(k, slot, request) && whole;
    }
    k->brief = 0;
    free(piece);
    return whole ? k->n_events : -1;
}

EXPORT const int64_t *kernel_events(const Kernel *k) { return k->events; }

/* How many words the events take. */
EXPORT int64_t kernel_used(const Kernel *k) { return k->used; }

/* KERNEL_VERSION of atoms.py when this was built. */
EXPORT int kernel_version(void) { return 4; }

/* Only so that `import` finds the library that ctypes then opens. */
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_kernel", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernel(void) { return PyModule_Create(&definition); }
