# What the cluster keeps in its datastore is as the pillar says.
{%- set pools = salt["pillar.get"]("calico:network:pools", []) %}
{%- set managed_by = salt["pillar.get"]("calico:network:managed_by") or "*" %}

include:
  - calico.service

{#- Values of the wrong type are left to calico.checked, which has stopped the run by then. #}
{%- if pools is iterable and pools is not string
       and managed_by is string and (managed_by == "*" or salt["match.compound"](managed_by)) %}
{%-   for pool in pools if pool is mapping %}

{{ ("IP pool %d (%s) is in the datastore" | format(loop.index, pool.get("cidr"))) | json }}:
  calico.pool_present:
{%-     for key, value in pool.items() %}
    - {{ {key if key != "cidr" else "name": value} | json }}
{%-     endfor %}
    - require:
      - sls: calico.service
{%-   endfor %}
{%- endif %}
