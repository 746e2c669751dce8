/* Datagrams: control messages and multicast memberships, whose macros and unions Swift can't import. */
#pragma once
#include <features.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Sends one datagram without waiting; 0 or an errno. An `interface` other than 0 (the kernel's index) sends it out of
 * that interface whatever the routes say (IP_PKTINFO, IPV6_PKTINFO). */
int kvd_send_datagram(int descriptor, const void *_Nonnull bytes, size_t count, const struct sockaddr *_Nonnull to,
                      socklen_t to_count, uint32_t interface);
/* Joins (or, with join 0, leaves) an IPv4 multicast group, its address in network byte order, on one interface; 0 or an
 * errno. Works on an IPv6 socket, too. */
int kvd_multicast(int descriptor, uint32_t group, uint32_t interface, int join);
/* The same for an IPv6 group, its two halves in network byte order, on an IPv6 socket. */
int kvd_multicast6(int descriptor, uint64_t high, uint64_t low, uint32_t interface, int join);
/* An IPv6 socket's multicast datagrams pass so many hops less one and reach this machine, too; and it hears only groups
 * that it joined itself. */
void kvd_multicast6_options(int descriptor, int hops);
