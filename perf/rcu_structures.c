/* A hash table with a lock for each bucket, a sorted list with one lock, an ordered tree with one lock.
 * Readers take no lock. rcu_assign_pointer pairs with the readers' rcu_dereference of the same link. */
#include "rcu_bench.h"

#include <stdlib.h>

static struct node *node_make(uint64_t key, uint64_t value, struct node *left, struct node *right)
{
    struct node *node = payload_make(sizeof *node);
    uint64_t check = mix(key, value);
    *node = (struct node){ key, value, check, { left, right }, ~check };
    return node;
}

static void node_drop(struct node *node) { free((char *)node - run.method->room); }

/* Volatile: what was stored and what is there now must not be assumed equal. */
static void node_check(const struct node *node)
{
    const volatile struct node *now = node;
    uint64_t check = now->check;
    if (check != mix(now->key, now->value) || now->check_too != ~check)
        die("a node was freed while it could still be read");
}

/* ---- chains: the list, and the table's buckets ----------------------------------------------------- */

/* Under the writer's lock: the slot that points to the key's node, or to the first one past it. Chains are
 * sorted by key. */
static struct node **chain_slot(struct node **slot, uint64_t key)
{
    while (*slot && (*slot)->key < key)
        slot = &(*slot)->link[0];
    return slot;
}

static bool chain_read(struct node **first, uint64_t key)
{
    struct node *node = rcu_dereference(*first);
    while (node && node->key < key)
        node = rcu_dereference(node->link[0]);
    if (!node || node->key != key)
        return false;
    node_check(node);
    return true;
}

static void chain_insert(struct node **first, struct node *node)
{
    struct node **slot = chain_slot(first, node->key);
    node->link[0] = *slot;
    rcu_assign_pointer(*slot, node);
}

static struct node *chain_owned(struct node **slot, uint64_t key)
{
    if (!*slot || (*slot)->key != key)
        die("a key that was put there is missing");
    return *slot;
}

static struct node *chain_replace(struct node **first, struct node *node)
{
    struct node **slot = chain_slot(first, node->key);
    struct node *old = chain_owned(slot, node->key);
    node->link[0] = old->link[0];
    rcu_assign_pointer(*slot, node);
    return old;
}

static struct node *chain_remove(struct node **first, uint64_t key)
{
    struct node **slot = chain_slot(first, key);
    struct node *old = chain_owned(slot, key);
    rcu_assign_pointer(*slot, old->link[0]);
    return old;
}

static void chain_unmake(struct node *node, void (*visit)(const struct node *))
{
    while (node) {
        struct node *next = node->link[0];
        node_check(node);
        if (next && next->key <= node->key)
            die("a chain is out of order");
        visit(node);
        node_drop(node);
        node = next;
    }
}

/* ---- the list -------------------------------------------------------------------------------------- */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *list_first;  /* its links too: written under list_lock */

static void list_make(uint64_t keys) { (void)keys; }

static bool list_read(uint64_t key) { return chain_read(&list_first, key); }

static void list_insert(uint64_t key, uint64_t value)
{
    struct node *node = node_make(key, value, NULL, NULL);
    pthread_mutex_lock(&list_lock);
    chain_insert(&list_first, node);
    pthread_mutex_unlock(&list_lock);
}

static unsigned list_replace(uint64_t key, uint64_t value, struct node *retired[RETIRED_MOST])
{
    struct node *node = node_make(key, value, NULL, NULL);
    pthread_mutex_lock(&list_lock);
    retired[0] = chain_replace(&list_first, node);
    pthread_mutex_unlock(&list_lock);
    return 1;
}

static unsigned list_remove(uint64_t key, struct node *retired[RETIRED_MOST])
{
    pthread_mutex_lock(&list_lock);
    retired[0] = chain_remove(&list_first, key);
    pthread_mutex_unlock(&list_lock);
    return 1;
}

static void list_unmake(void (*visit)(const struct node *)) { chain_unmake(list_first, visit); }

const struct structure sorted_list = {
    512, list_make, list_read, list_insert, list_replace, list_remove, list_unmake,
};

/* ---- the hash table ---------------------------------------------------------------------------------- */

struct bucket {
    pthread_mutex_t lock;
    struct node *first;  /* its links too: written under lock */
};

enum { BUCKET_BITS = 14 };
static struct bucket *buckets;

static void table_make(uint64_t keys)
{
    (void)keys;
    buckets = map_array(sizeof *buckets << BUCKET_BITS);
    for (size_t i = 0; i < (size_t)1 << BUCKET_BITS; i++)
        pthread_mutex_init(&buckets[i].lock, NULL);
}

static struct bucket *bucket_of(uint64_t key)
{
    return &buckets[key * 0x9e3779b97f4a7c15u >> (64 - BUCKET_BITS)];
}

static bool table_read(uint64_t key) { return chain_read(&bucket_of(key)->first, key); }

static void table_insert(uint64_t key, uint64_t value)
{
    struct bucket *bucket = bucket_of(key);
    struct node *node = node_make(key, value, NULL, NULL);
    pthread_mutex_lock(&bucket->lock);
    chain_insert(&bucket->first, node);
    pthread_mutex_unlock(&bucket->lock);
}

static unsigned table_replace(uint64_t key, uint64_t value, struct node *retired[RETIRED_MOST])
{
    struct bucket *bucket = bucket_of(key);
    struct node *node = node_make(key, value, NULL, NULL);
    pthread_mutex_lock(&bucket->lock);
    retired[0] = chain_replace(&bucket->first, node);
    pthread_mutex_unlock(&bucket->lock);
    return 1;
}

static unsigned table_remove(uint64_t key, struct node *retired[RETIRED_MOST])
{
    struct bucket *bucket = bucket_of(key);
    pthread_mutex_lock(&bucket->lock);
    retired[0] = chain_remove(&bucket->first, key);
    pthread_mutex_unlock(&bucket->lock);
    return 1;
}

static void table_unmake(void (*visit)(const struct node *))
{
    for (size_t i = 0; i < (size_t)1 << BUCKET_BITS; i++)
        chain_unmake(buckets[i].first, visit);
}

const struct structure hash_table = {
    65536, table_make, table_read, table_insert, table_replace, table_remove, table_unmake,
};

/* ---- the tree: elements in leaves, inner nodes of two children ----------------------------------------
 *
 * Keys below an inner node's are on its left. One store publishes each update: a leaf becomes an inner node
 * over itself and the new leaf; a removed leaf's parent is replaced by its other child, and both go. A
 * reader inside a removed part still finds live or not yet freed nodes below it. */

static pthread_mutex_t tree_lock = PTHREAD_MUTEX_INITIALIZER;
static struct node *tree_root;  /* its links too: written under tree_lock */

static void tree_make(uint64_t keys) { (void)keys; }

static bool is_leaf(const struct node *node) { return !node->link[0]; }

static bool tree_read(uint64_t key)
{
    struct node *node = rcu_dereference(tree_root), *child;
    if (!node)
        return false;
    while ((child = rcu_dereference(node->link[key >= node->key])) != NULL)
        node = child;
    if (node->key != key)
        return false;
    node_check(node);
    return true;
}

/* Under the lock: the slot of the leaf where the key is or would be; *above: the slot of its parent. */
static struct node **tree_slot(uint64_t key, struct node ***above)
{
    struct node **slot = &tree_root;
    *above = NULL;
    while (*slot && !is_leaf(*slot)) {
        *above = slot;
        slot = &(*slot)->link[key >= (*slot)->key];
    }
    return slot;
}

static void tree_insert(uint64_t key, uint64_t value)
{
    struct node *leaf = node_make(key, value, NULL, NULL);
    struct node *inner = node_make(0, 0, NULL, NULL);
    struct node **above;

    pthread_mutex_lock(&tree_lock);
    struct node **slot = tree_slot(key, &above), *other = *slot;
    if (!other) {
        rcu_assign_pointer(*slot, leaf);
    } else {
        bool right = key > other->key;
        inner->key = right ? key : other->key;
        inner->check = mix(inner->key, 0);
        inner->check_too = ~inner->check;
        inner->link[right] = leaf;
        inner->link[!right] = other;
        rcu_assign_pointer(*slot, inner);
        inner = NULL;
    }
    pthread_mutex_unlock(&tree_lock);
    if (inner)
        node_drop(inner);
}

static unsigned tree_replace(uint64_t key, uint64_t value, struct node *retired[RETIRED_MOST])
{
    struct node *leaf = node_make(key, value, NULL, NULL);
    struct node **above;

    pthread_mutex_lock(&tree_lock);
    struct node **slot = tree_slot(key, &above);
    retired[0] = chain_owned(slot, key);
    rcu_assign_pointer(*slot, leaf);
    pthread_mutex_unlock(&tree_lock);
    return 1;
}

static unsigned tree_remove(uint64_t key, struct node *retired[RETIRED_MOST])
{
    struct node **above;
    unsigned count = 1;

    pthread_mutex_lock(&tree_lock);
    struct node **slot = tree_slot(key, &above);
    retired[0] = chain_owned(slot, key);
    if (above) {
        struct node *parent = *above;
        struct node *sibling = parent->link[slot == &parent->link[0]];
        rcu_assign_pointer(*above, sibling);
        retired[count++] = parent;
    } else {
        rcu_assign_pointer(*slot, (struct node *)NULL);
    }
    pthread_mutex_unlock(&tree_lock);
    return count;
}

/* low <= every key < high. */
static void unmake_below(struct node *node, uint64_t low, uint64_t high,
                         void (*visit)(const struct node *))
{
    node_check(node);
    if (is_leaf(node)) {
        if (node->key < low || node->key >= high)
            die("the tree is out of order");
        visit(node);
    } else {
        unmake_below(node->link[0], low, node->key, visit);
        unmake_below(node->link[1], node->key, high, visit);
    }
    node_drop(node);
}

static void tree_unmake(void (*visit)(const struct node *))
{
    if (tree_root)
        unmake_below(tree_root, 0, UINT64_MAX, visit);
}

const struct structure ordered_tree = {
    16384, tree_make, tree_read, tree_insert, tree_replace, tree_remove, tree_unmake,
};
