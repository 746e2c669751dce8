#pragma once
#include <features.h> /* lock glibc's feature macros before liburing.h defines _XOPEN_SOURCE */
#include <liburing.h>
