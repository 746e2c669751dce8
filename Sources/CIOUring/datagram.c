#define _GNU_SOURCE
#include "datagram.h"
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

int kvd_send_datagram(int descriptor, const void *bytes, size_t count, const struct sockaddr *to, socklen_t to_count,
                      uint32_t interface) {
  struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_name = (void *)to, .msg_namelen = to_count, .msg_iov = &piece, .msg_iovlen = 1};
  union {
    struct cmsghdr header;
    unsigned char room[CMSG_SPACE(sizeof(struct in_pktinfo))];
    unsigned char room6[CMSG_SPACE(sizeof(struct in6_pktinfo))];
  } control;
  const struct sockaddr_in6 *to6 = (const struct sockaddr_in6 *)to;
  if (interface) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = sizeof control.room;
    struct cmsghdr *header = &control.header;
    if (to->sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&to6->sin6_addr)) {
      message.msg_controllen = sizeof control.room6;
      header->cmsg_level = IPPROTO_IPV6;
      header->cmsg_type = IPV6_PKTINFO;
      header->cmsg_len = CMSG_LEN(sizeof(struct in6_pktinfo));
      struct in6_pktinfo information = {.ipi6_ifindex = interface};
      memcpy(CMSG_DATA(header), &information, sizeof information);
    } else {
      header->cmsg_level = IPPROTO_IP;
      header->cmsg_type = IP_PKTINFO;
      header->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
      struct in_pktinfo information = {.ipi_ifindex = (int)interface};
      memcpy(CMSG_DATA(header), &information, sizeof information);
    }
  }
  return sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

int kvd_multicast(int descriptor, uint32_t group, uint32_t interface, int join) {
  struct ip_mreqn request = {.imr_multiaddr = {.s_addr = group}, .imr_ifindex = (int)interface};
  int option = join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP;
  return setsockopt(descriptor, IPPROTO_IP, option, &request, sizeof request) < 0 ? errno : 0;
}

int kvd_multicast6(int descriptor, uint64_t high, uint64_t low, uint32_t interface, int join) {
  struct ipv6_mreq request = {.ipv6mr_interface = interface};
  memcpy(&request.ipv6mr_multiaddr, &high, sizeof high);
  memcpy((unsigned char *)&request.ipv6mr_multiaddr + sizeof high, &low, sizeof low);
  int option = join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP;
  return setsockopt(descriptor, IPPROTO_IPV6, option, &request, sizeof request) < 0 ? errno : 0;
}

void kvd_multicast6_options(int descriptor, int hops) {
  /* Of <linux/in6.h>; kernels before 4.20 don't know it. */
  enum { multicast_all = 29 };
  int yes = 1, no = 0;
  setsockopt(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof hops);
  setsockopt(descriptor, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, &yes, sizeof yes);
  setsockopt(descriptor, IPPROTO_IPV6, multicast_all, &no, sizeof no);
}
