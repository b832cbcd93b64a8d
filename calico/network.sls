# What the cluster keeps in its datastore is as the pillar says.
{%- from "calico/map.jinja" import calico with context %}

include:
  - calico.service

{%- if calico.network.managed_by is string and salt["match.compound"](calico.network.managed_by)
       and calico.network.pools is iterable and calico.network.pools is not string %}
{%-   for pool in calico.network.pools if pool is mapping %}

{{ ("IP pool %d (%s) is in the datastore" | format(loop.index, pool.get("cidr"))) | json }}:
  calico.pool_present:
{%-     for key, value in pool.items() %}
    - {{ {key if key != "cidr" else "name": value} | json }}
{%-     endfor %}
    - require:
      - sls: calico.service
{%-   endfor %}
{%- endif %}
