/* The Python side of the loops of training. */
#ifndef PEMN_ADDRESSES_H
#define PEMN_ADDRESSES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

PyObject *pemn_native_choose(PyObject *module, PyObject *rows);
PyObject *pemn_native_carry(PyObject *module, PyObject *rows);
PyObject *pemn_native_margin(PyObject *module, PyObject *arguments);
PyObject *pemn_native_margins(PyObject *module, PyObject *arguments);

#endif
