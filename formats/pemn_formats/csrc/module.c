/* The Python side of the compiled loops. Arguments are buffers, whose sizes are checked before a byte is touched; what
 * is wrong raises ValueError. The interpreter's lock is let go while a loop runs.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>
#include <string.h>

#include "addresses.h"
#include "loops.h"

/* Arguments that are buffers, held until all of them are released together. */
typedef struct {
    Py_buffer views[4];
    int count;
} Held;

static Py_buffer *hold(Held *held, PyObject *from, int flags)
{
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(from, view, PyBUF_C_CONTIGUOUS | flags) < 0) {
        return NULL;
    }
    held->count++;
    if ((uintptr_t)view->buf % (size_t)(view->itemsize ? view->itemsize : 1)) {
        PyErr_SetString(PyExc_ValueError, "a buffer is not aligned to its items");
        return NULL;
    }
    return view;
}

static PyObject *release(Held *held, const char *complaint)
{
    while (held->count) {
        PyBuffer_Release(&held->views[--held->count]);
    }
    if (complaint) {
        PyErr_SetString(PyExc_ValueError, complaint);
    }
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *native_words(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *out_object;
    unsigned long long first, stream, seed;
    if (!PyArg_ParseTuple(arguments, "OKKK:words", &out_object, &first, &stream, &seed)) {
        return NULL;
    }
    Held held = {.count = 0};
    Py_buffer *out = hold(&held, out_object, PyBUF_WRITABLE);
    if (!out) {
        return release(&held, NULL);
    }
    if (out->itemsize != 4 || out->len % 16) {
        return release(&held, "out must hold whole blocks of four 32-bit words");
    }
    Py_BEGIN_ALLOW_THREADS
    pemn_philox(out->buf, (size_t)out->len / 16, first, stream, seed);
    Py_END_ALLOW_THREADS
    return release(&held, NULL);
}

static PyObject *native_permuted(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *out_object, *vector_object, *keys_object;
    unsigned long long first, span;
    if (!PyArg_ParseTuple(arguments, "OOOKK:permuted", &out_object, &vector_object, &keys_object, &first, &span)) {
        return NULL;
    }
    Held held = {.count = 0};
    Py_buffer *out = hold(&held, out_object, PyBUF_WRITABLE);
    Py_buffer *vector = out ? hold(&held, vector_object, 0) : NULL;
    Py_buffer *keys = vector ? hold(&held, keys_object, 0) : NULL;
    if (!keys) {
        return release(&held, NULL);
    }
    size_t width = (size_t)out->itemsize;
    if ((width != 4 && width != 2) || vector->itemsize != out->itemsize || vector->len < vector->itemsize) {
        return release(&held, "out and vector must hold words of 16 or of 32 bits, vector at least one");
    }
    if (keys->itemsize != 4 || keys->len != 4 * PEMN_FEISTEL_ROUNDS) {
        return release(&held, "keys must be six words of 32 bits");
    }
    size_t count = (size_t)out->len / width;
    if (span < 1 || span > (uint64_t)1 << 62 || first > span || count > span - first) {
        return release(&held, "span must be from 1 to 2^62 and hold every place");
    }
    Py_BEGIN_ALLOW_THREADS
    pemn_permuted(out->buf, count, width, vector->buf, (uint64_t)vector->len / width, first, keys->buf, span);
    Py_END_ALLOW_THREADS
    return release(&held, NULL);
}

/* One row of eight equal words. */
static void repeat(void *row, const void *word, size_t width)
{
    for (size_t i = 0; i < 8; i++) {
        memcpy((char *)row + i * width, word, width);
    }
}

static PyObject *native_select(PyObject *module, PyObject *arguments)
{
    (void)module;
    static const uint8_t all = UINT8_MAX, none = 0;
    PyObject *out_object, *values_object, *bits_objects[2];
    if (!PyArg_ParseTuple(arguments, "OOOO:select", &out_object, &bits_objects[0], &bits_objects[1], &values_object)) {
        return NULL;
    }
    Held held = {.count = 0};
    Py_buffer *out = hold(&held, out_object, PyBUF_WRITABLE);
    Py_buffer *values = out ? hold(&held, values_object, 0) : NULL;
    if (!values) {
        return release(&held, NULL);
    }
    size_t width = (size_t)out->itemsize;
    if ((width != 4 && width != 2) || values->itemsize != out->itemsize) {
        return release(&held, "out and values must hold words of 16 or of 32 bits");
    }
    size_t count = (size_t)out->len / width;
    int is_one = values->len == values->itemsize;
    if (!is_one && values->len != out->len) {
        return release(&held, "values must be one word or as many as out has");
    }
    const uint8_t *bits[2] = {&all, &none};
    size_t step[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        if (bits_objects[i] != Py_None) {
            Py_buffer *given = hold(&held, bits_objects[i], 0);
            if (!given) {
                return release(&held, NULL);
            }
            if (given->itemsize != 1 || (size_t)given->len != (count + 7) / 8) {
                return release(&held, "kept and flipped must be bytes with one bit for each word of out");
            }
            bits[i] = given->buf;
            step[i] = 1;
        }
    }
    uint32_t row[8];
    if (is_one) {
        repeat(row, values->buf, width);
    }
    const void *from = is_one ? row : values->buf;
    Py_BEGIN_ALLOW_THREADS
    if (width == 4) {
        pemn_select32(out->buf, count, bits[0], step[0], bits[1], step[1], from, is_one ? 0 : 8);
    } else {
        pemn_select16(out->buf, count, bits[0], step[0], bits[1], step[1], from, is_one ? 0 : 8);
    }
    Py_END_ALLOW_THREADS
    return release(&held, NULL);
}

static PyObject *native_deposit(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *out_object, *mask_object, *packed_object;
    Py_ssize_t first;
    if (!PyArg_ParseTuple(arguments, "OOOn:deposit", &out_object, &mask_object, &packed_object, &first)) {
        return NULL;
    }
    Held held = {.count = 0};
    Py_buffer *out = hold(&held, out_object, PyBUF_WRITABLE);
    Py_buffer *mask = out ? hold(&held, mask_object, 0) : NULL;
    Py_buffer *packed = mask ? hold(&held, packed_object, 0) : NULL;
    if (!packed) {
        return release(&held, NULL);
    }
    if (out->itemsize != 1 || mask->itemsize != 1 || packed->itemsize != 1 || mask->len != out->len || first < 0) {
        return release(&held, "out, mask and packed must be bytes, out as many as mask, and first not negative");
    }
    Py_BEGIN_ALLOW_THREADS
    pemn_lay_out(out->buf, mask->buf, (size_t)mask->len, packed->buf, (size_t)packed->len, (size_t)first);
    Py_END_ALLOW_THREADS
    return release(&held, NULL);
}

static PyObject *native_lay_runs(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *raw_object, *runs_object;
    unsigned char escape;
    if (!PyArg_ParseTuple(arguments, "OOb:lay_runs", &raw_object, &runs_object, &escape)) {
        return NULL;
    }
    Held held = {.count = 0};
    Py_buffer *raw = hold(&held, raw_object, PyBUF_WRITABLE);
    Py_buffer *runs = raw ? hold(&held, runs_object, 0) : NULL;
    if (!runs) {
        return release(&held, NULL);
    }
    if (raw->itemsize != 1 || runs->itemsize != 1) {
        return release(&held, "raw and runs must be bytes");
    }
    uint64_t end;
    Py_BEGIN_ALLOW_THREADS
    end = pemn_lay_runs(raw->buf, 8 * (uint64_t)raw->len, runs->buf, (size_t)runs->len, escape);
    Py_END_ALLOW_THREADS
    PyObject *done = release(&held, NULL);
    if (!done) {
        return NULL;
    }
    Py_DECREF(done);
    return PyLong_FromUnsignedLongLong(end);
}

/* Far more than the 2^19 bytes of a chunk in a file. */
#define PEMN_MOST_RAW (1 << 26)

/* The arguments that coding and decoding a chunk share: raw, parts, signs, lanes. */
typedef struct {
    Py_buffer *raw, *parts, *signs;
    size_t count, lanes, bits;
} Chunk;

/* What is wrong with signs, each of which takes a part in the number of a context; or NULL. */
static const char *check_signs(const int8_t *signs, size_t count)
{
    unsigned others = 0;
    for (size_t i = 0; i < count; i++) {
        others |= signs[i] != 1 && signs[i] != -1;
    }
    return others ? "signs must be 1 or -1" : NULL;
}

/* Hold the buffers of a chunk, raw under the given flags; return 0, or -1 with the error set. */
static int hold_chunk(Held *held, Chunk *chunk, PyObject *const objects[3], int flags, Py_ssize_t lanes)
{
    chunk->lanes = lanes < 0 ? 0 : (size_t)lanes;
    chunk->raw = hold(held, objects[0], flags);
    chunk->parts = chunk->raw ? hold(held, objects[1], 0) : NULL;
    chunk->signs = chunk->parts ? hold(held, objects[2], 0) : NULL;
    return chunk->signs ? 0 : -1;
}

/* What is wrong with a part of a chunk with so many places, or NULL; count its weights. */
static const char *check_part(const pemn_part *part, int64_t places, int64_t *weights)
{
    if (part->kind < PEMN_SHARED || part->kind > PEMN_MATRIX) {
        return "a part is of no known kind";
    }
    if (part->count < 0 || part->count > places || part->start < 0 || part->start > places - part->count) {
        return "a part lies outside the chunk";
    }
    int64_t sides[4] = {part->rows, part->channels, part->height, part->width};
    *weights = 1;
    for (int side = 0; side < 4; side++) {
        if (sides[side] < 1 || sides[side] > places / *weights) {
            return "a part lies outside the chunk";
        }
        *weights *= sides[side];
    }
    if (part->kind != PEMN_MATRIX) {
        return *weights == 1 && !part->has_signs && part->among == -1 ? NULL : "only a matrix has rows and columns";
    }
    if (part->among == -1) {
        return part->count == *weights ? NULL : "a matrix has a bit for each weight";
    }
    if (part->among < 0 || part->among > part->start - *weights) {
        return "the plane that a matrix depends on must come before it";
    }
    return NULL;
}

/* Fill in and check what a chunk is; return a complaint, or NULL. Sums cannot overflow: no part exceeds the chunk, and
 * the bytes of a coded chunk fit 32 bits. */
static const char *check_chunk(Chunk *chunk)
{
    if (chunk->raw->itemsize != 1 || chunk->signs->itemsize != 1) {
        return "raw and signs must be bytes";
    }
    if (chunk->raw->len > PEMN_MOST_RAW) {
        return "raw is too long for a chunk";
    }
    if (chunk->parts->itemsize != 8 || (size_t)chunk->parts->len % sizeof(pemn_part)) {
        return "parts must be rows of nine 64-bit integers";
    }
    if (chunk->lanes < 1 || chunk->lanes > PEMN_MOST_LANES || (chunk->lanes & (chunk->lanes - 1))) {
        return "the number of lanes must be a power of two up to 512";
    }
    chunk->count = (size_t)chunk->parts->len / sizeof(pemn_part);
    int64_t places = (int64_t)chunk->raw->len * 8, bits = 0, signs = 0;
    for (size_t i = 0; i < chunk->count; i++) {
        const pemn_part *part = (const pemn_part *)chunk->parts->buf + i;
        int64_t weights;
        const char *complaint = check_part(part, places, &weights);
        if (complaint) {
            return complaint;
        }
        bits += part->count;
        signs += part->has_signs ? weights : 0;
        if (bits > places || signs > places) {
            return "parts overlap";
        }
    }
    chunk->bits = (size_t)bits;
    if (signs != chunk->signs->len) {
        return "signs must be as many as the matrices that have them have weights";
    }
    return check_signs(chunk->signs->buf, (size_t)signs);
}

static PyObject *native_context_decode(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[3], *stored_object;
    Py_ssize_t lanes;
    if (!PyArg_ParseTuple(arguments, "OOOnO:context_decode", &objects[0], &objects[1], &objects[2], &lanes,
                          &stored_object)) {
        return NULL;
    }
    Held held = {.count = 0};
    Chunk chunk;
    int failed = hold_chunk(&held, &chunk, objects, PyBUF_WRITABLE, lanes);
    Py_buffer *stored = failed ? NULL : hold(&held, stored_object, 0);
    if (!stored) {
        return release(&held, NULL);
    }
    const char *complaint = check_chunk(&chunk);
    if (!complaint && (stored->itemsize != 1 || stored->len % 2 || (size_t)stored->len < 4 * chunk.lanes)) {
        complaint = "stored must be an even number of bytes and hold a state for each lane";
    }
    if (complaint) {
        return release(&held, complaint);
    }
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = pemn_context_decode(chunk.raw->buf, chunk.parts->buf, chunk.count, chunk.signs->buf, chunk.lanes,
                                 stored->buf, (size_t)stored->len);
    Py_END_ALLOW_THREADS
    if (status == PEMN_OUT_OF_MEMORY) {
        PyErr_NoMemory();
    }
    PyObject *released = release(&held, NULL);
    Py_XDECREF(released);
    return released ? PyLong_FromLong(status) : NULL;
}

static PyObject *native_context_encode(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *objects[3];
    Py_ssize_t lanes;
    if (!PyArg_ParseTuple(arguments, "OOOn:context_encode", &objects[0], &objects[1], &objects[2], &lanes)) {
        return NULL;
    }
    Held held = {.count = 0};
    Chunk chunk;
    if (hold_chunk(&held, &chunk, objects, 0, lanes) < 0) {
        return release(&held, NULL);
    }
    const char *complaint = check_chunk(&chunk);
    if (complaint) {
        return release(&held, complaint);
    }
    size_t capacity = 4 * chunk.lanes + 2 * chunk.bits, size = 0;
    uint8_t *stored = malloc(capacity);
    int status = PEMN_OUT_OF_MEMORY;
    Py_BEGIN_ALLOW_THREADS
    if (stored) {
        status = pemn_context_encode(stored, capacity, &size, chunk.raw->buf, chunk.parts->buf, chunk.count,
                                     chunk.signs->buf, chunk.lanes, chunk.bits);
    }
    Py_END_ALLOW_THREADS
    PyObject *coded = NULL;
    if (status == PEMN_DONE) {
        coded = PyBytes_FromStringAndSize((const char *)stored, (Py_ssize_t)size);
    } else if (status == PEMN_WRONG_PLANE) {
        PyErr_SetString(PyExc_ValueError, "a part has another number of bits than the plane that it is among says");
    } else {
        PyErr_NoMemory();
    }
    free(stored);
    Py_XDECREF(release(&held, NULL));
    return coded;
}

static PyMethodDef methods[] = {
    {"words", native_words, METH_VARARGS, "words(out, first, stream, seed): fill out with whole blocks of a stream."},
    {"permuted", native_permuted, METH_VARARGS, "permuted(out, vector, keys, first, span): gather by a permutation."},
    {"select", native_select, METH_VARARGS, "select(out, kept, flipped, values): write the chosen weights to out."},
    {"deposit", native_deposit, METH_VARARGS, "deposit(out, mask, packed, first): lay bits over the ones of mask."},
    {"lay_runs", native_lay_runs, METH_VARARGS,
     "lay_runs(raw, runs, escape): set the bits behind runs of zeros; return where the last run ends."},
    {"context_decode", native_context_decode, METH_VARARGS,
     "context_decode(raw, parts, signs, lanes, stored): decode into raw; return 0, or what is wrong with stored."},
    {"context_encode", native_context_encode, METH_VARARGS,
     "context_encode(raw, parts, signs, lanes): return the coded bytes."},
    {"choose", pemn_native_choose, METH_O, "choose(rows): write the weights that scores choose."},
    {"carry", pemn_native_carry, METH_O, "carry(rows): write the gradients of scores."},
    {"margin", pemn_native_margin, METH_VARARGS,
     "margin(rows, kept): what exactly the largest magnitudes exceed, or None."},
    {"margins", pemn_native_margins, METH_VARARGS, "margins(rows, kept): the margin of each row by itself."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "pemn_formats._native", .m_size = 0, .m_methods = methods,
};

PyMODINIT_FUNC PyInit__native(void)
{
    pemn_fill_rows();
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddIntConstant(module, "REVISION", 6) < 0) {
        Py_CLEAR(module);
    }
#ifdef Py_GIL_DISABLED
    /* Nothing is kept between calls; without this a Python without the interpreter's lock would take it up again. */
    if (module) {
        PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
    }
#endif
    return module;
}
