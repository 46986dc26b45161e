/* The Python side of the loops of training. They take addresses, not buffers: to make a buffer of each of many small
 * tensors takes longer than the loops themselves. So the caller answers for what lies there; see pemn_formats.native.
 */
#include "addresses.h"

#include <stdlib.h>
#include <string.h>

#include "loops.h"

/* A tuple of rows, one behind the other, and the place of the next number to take. */
typedef struct {
    PyObject *rows;
    Py_ssize_t at;
} Reader;

static PyObject *next(Reader *reader)
{
    return PyTuple_GET_ITEM(reader->rows, reader->at++);
}

/* Return 0, or -1 with the error set. */
static int check_rows(PyObject *rows, Py_ssize_t width)
{
    if (!PyTuple_Check(rows)) {
        PyErr_SetString(PyExc_TypeError, "rows must be a tuple");
        return -1;
    }
    if (PyTuple_GET_SIZE(rows) % width) {
        PyErr_Format(PyExc_ValueError, "rows must have %zd numbers each", width);
        return -1;
    }
    return 0;
}

/* Return what an address points to; NULL with the error set where it can be no float32, and for 0. */
static void *take_address(Reader *reader)
{
    void *found = PyLong_AsVoidPtr(next(reader));
    if (!PyErr_Occurred() && (!found || (uintptr_t)found % sizeof(float))) {
        PyErr_SetString(PyExc_ValueError, "an address is 0 or not aligned to a float32");
        return NULL;
    }
    return found;
}

/* Take so many addresses and the count of what lies at each; return 0, or -1 with the error set. */
static int take_places(Reader *reader, void **places, size_t number, size_t *count)
{
    for (size_t place = 0; place < number; place++) {
        places[place] = take_address(reader);
        if (!places[place]) {
            return -1;
        }
    }
    *count = PyLong_AsSize_t(next(reader));
    return PyErr_Occurred() ? -1 : 0;
}

PyObject *pemn_native_choose(PyObject *module, PyObject *rows)
{
    (void)module;
    if (check_rows(rows, 6) < 0) {
        return NULL;
    }
    for (Reader reader = {rows, 0}; reader.at < PyTuple_GET_SIZE(rows);) {
        void *places[3]; /* out, score, value */
        size_t count;
        if (take_places(&reader, places, 3, &count) < 0) {
            return NULL;
        }
        long rule = PyLong_AsLong(next(&reader));
        double margin = PyErr_Occurred() ? 0 : PyFloat_AsDouble(next(&reader));
        if (PyErr_Occurred()) {
            return NULL;
        }
        if (rule < PEMN_KEEP_ABOVE || rule > PEMN_TERNARY_BEYOND || !(margin >= 0)) {
            PyErr_SetString(PyExc_ValueError, "a rule must be from 0 to 4 and its margin not negative");
            return NULL;
        }
        Py_BEGIN_ALLOW_THREADS
        pemn_choose(places[0], places[1], places[2], count, (int)rule, (float)margin);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

PyObject *pemn_native_carry(PyObject *module, PyObject *rows)
{
    (void)module;
    if (check_rows(rows, 5) < 0) {
        return NULL;
    }
    for (Reader reader = {rows, 0}; reader.at < PyTuple_GET_SIZE(rows);) {
        void *places[4]; /* out, gradient, value, score */
        size_t count;
        if (take_places(&reader, places, 4, &count) < 0) {
            return NULL;
        }
        Py_BEGIN_ALLOW_THREADS
        pemn_carry(places[0], places[1], places[2], places[3], count);
        Py_END_ALLOW_THREADS
    }
    Py_RETURN_NONE;
}

/* Return what `kept` of so many parts, `total` scores in all, exceed; NULL with the error set. */
static PyObject *find_margin(const pemn_scores *parts, size_t number, uint64_t total, unsigned long long kept)
{
    if (kept < 1 || kept > total) {
        PyErr_SetString(PyExc_ValueError, "at least one score must be kept, and no more than there are");
        return NULL;
    }
    uint32_t bits;
    Py_BEGIN_ALLOW_THREADS
    bits = pemn_margin(parts, number, kept);
    Py_END_ALLOW_THREADS
    if (bits == PEMN_NO_MARGIN) {
        Py_RETURN_NONE;
    }
    float margin;
    memcpy(&margin, &bits, sizeof margin);
    return PyFloat_FromDouble((double)margin);
}

/* Take the score and the count of a part; return 0, or -1 with the error set. */
static int take_part(Reader *reader, pemn_scores *part)
{
    void *score;
    if (take_places(reader, &score, 1, &part->count) < 0) {
        return -1;
    }
    part->score = score;
    return 0;
}

PyObject *pemn_native_margin(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *rows;
    unsigned long long kept;
    if (!PyArg_ParseTuple(arguments, "OK:margin", &rows, &kept) || check_rows(rows, 2) < 0) {
        return NULL;
    }
    size_t number = (size_t)PyTuple_GET_SIZE(rows) / 2;
    pemn_scores *parts = PyMem_New(pemn_scores, number ? number : 1);
    if (!parts) {
        return PyErr_NoMemory();
    }
    uint64_t total = 0;
    Reader reader = {rows, 0};
    for (size_t part = 0; part < number && take_part(&reader, &parts[part]) == 0; part++) {
        total += parts[part].count;
    }
    PyObject *margin = PyErr_Occurred() ? NULL : find_margin(parts, number, total, kept);
    PyMem_Free(parts);
    return margin;
}

PyObject *pemn_native_margins(PyObject *module, PyObject *arguments)
{
    (void)module;
    PyObject *rows, *kept;
    if (!PyArg_ParseTuple(arguments, "OO!:margins", &rows, &PyTuple_Type, &kept) || check_rows(rows, 2) < 0) {
        return NULL;
    }
    Py_ssize_t number = PyTuple_GET_SIZE(rows) / 2;
    if (PyTuple_GET_SIZE(kept) != number) {
        PyErr_SetString(PyExc_ValueError, "every row must have a number to keep");
        return NULL;
    }
    PyObject *margins = PyTuple_New(number);
    Reader reader = {rows, 0};
    for (Py_ssize_t row = 0; margins && row < number; row++) {
        pemn_scores part;
        unsigned long long count = PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(kept, row));
        PyObject *margin =
            PyErr_Occurred() || take_part(&reader, &part) < 0 ? NULL : find_margin(&part, 1, part.count, count);
        if (!margin) {
            Py_CLEAR(margins);
            break;
        }
        PyTuple_SET_ITEM(margins, row, margin);
    }
    return margins;
}
